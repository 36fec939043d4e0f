import { VmcacheError } from '../../base/errors.js'
import { MAXIMUM_ORIGIN_BYTES } from '../../format/chunk-header.js'
import { systemClock } from '../../base/clock.js'
import type { Logger } from '../../base/logger.js'
import { PAGE_BYTES } from '../../model/geometry.js'
import type { Mode } from '../../model/mode.js'
import type { WriteBackSettings } from '../../model/write-back.js'
import { DEFAULT_SEQUENTIAL_LIMIT_BYTES, Disk, endedBy } from '../disk/disk.js'
import { LogReader } from '../log/log-reader.js'
import type { OpenedLog } from '../log/open-log.js'
import { NbdServer } from '../nbd/nbd-server.js'
import { singleExport } from '../nbd/export-table.js'
import { openOrigin } from '../origin/open-origin.js'
import type { Origin } from '../origin/origin.js'
import type { ChunkPlace, FoundChunkPlace } from '../pool/pool.js'
import type { MendedSlice } from '../scrub/scrub-disks.js'
import type { ScrubPosition } from '../scrub/scrub-slice.js'
import { loadReplacement } from '../replacement/modules.js'
import { DiskCounters } from '../statistics/disk-counters.js'
import { SharedDiskMeter } from '../statistics/disk-meter.js'
import type { Calls } from './calls.js'
import { DiskLogs, type LogPlace } from './disk-logs.js'
import { DiskSharing } from './disk-sharing.js'
import type { MainCalls, ThreadCalls, ThreadDiskSettings, ThreadDiskStatus } from './messages.js'
import { NOTHING_SCRUBBED, scrubLog } from './scrub-log.js'
import { placeOf, type ThreadCache } from './thread-cache.js'

/** How long a detach waits for an origin that does not answer. */
const ORIGIN_CLOSE_MILLISECONDS = 10_000

/** One reader for all disks of the thread: it never waits, so its buffers are never in two uses. */
const reader = new LogReader()

/** What becomes of a log, and of what is dirty in it, when its disk is not served any more. */
export interface CloseOptions {
  readonly keepLog: boolean
  readonly discardDirty: boolean
  readonly drainMilliseconds: number | null
}

/** A disk with all that serves it: origin, log, request paths and the NBD server on its socket. */
export class ThreadDisk {
  #mode: Mode
  #cancellation: AbortController | undefined
  #serverClosed: Promise<unknown> | undefined

  private constructor(
    readonly disk: Disk,
    readonly origin: Origin,
    readonly logs: DiskLogs,
    readonly server: NbdServer,
    readonly meter: SharedDiskMeter,
    /** The threads that serve it as well; undefined where there are none. */
    readonly sharing: DiskSharing | undefined,
    settings: ThreadDiskSettings,
    readonly writeBack: { settings: WriteBackSettings },
  ) {
    this.#mode = settings.settings.mode
  }

  /**
   * Opens the origin, recovers the log as far as the first answer needs it, and begins to accept connections. Without `cache` the disk is
   * served directly.
   */
  static async open(
    wanted: ThreadDiskSettings,
    cache: ThreadCache | undefined,
    main: Calls<MainCalls, ThreadCalls>,
    logger: Logger,
  ): Promise<ThreadDisk> {
    const { settings } = wanted
    const { name, mode, epoch, readOnly, withoutLog } = settings
    if (Buffer.byteLength(settings.origin) > MAXIMUM_ORIGIN_BYTES) {
      throw new VmcacheError(
        'BAD_URI',
        `origin ${settings.origin.slice(0, 40)}... of disk ${name} has ${Buffer.byteLength(settings.origin)} bytes, at most ${MAXIMUM_ORIGIN_BYTES} fit into the log`,
        { hint: 'use a shorter path or URI: a symbolic link, a shorter socket path' },
      )
    }
    const replacement = await loadReplacement(settings.replacement)
    const origin = await openOrigin(settings.origin, {
      readOnly,
      imageFormatAllowed: settings.imageFormatAllowed,
    })
    try {
      const meter = new SharedDiskMeter(new DiskCounters(wanted.counters))
      const { found, maximumChunks } = wanted.place ?? { found: [], maximumChunks: 0 }
      const place = cache === undefined ? undefined : { cache, maximumChunks, epoch }
      const logs = new DiskLogs(settings, origin, meter, replacement, place)
      // What others wrote and the origin could still lose must not be cached: nothing marks it as touched.
      await origin.flush()
      const log = await logs.recover(mode, found)
      const sharing = wanted.readers.length > 0 ? new DiskSharing(wanted.readers, systemClock) : undefined
      const follow = (opened: OpenedLog): OpenedLog => {
        sharing?.follow(opened.log, logs.place!.cache.cacheId)
        return opened
      }
      const writeBack = { settings: settings.writeBack }
      const disk = new Disk({
        name,
        origin,
        readOnly,
        mode,
        blockPages: settings.blockBytes / PAGE_BYTES,
        phase: logs.phase.sectors,
        sequentialLimitBytes: DEFAULT_SEQUENTIAL_LIMIT_BYTES,
        reader,
        meter,
        clock: systemClock,
        log,
        newLog: async (phase) => follow(await logs.create(phase)),
        maximumLogBytes: () => logs.maximumBytes,
        writeBack: () => writeBack.settings,
        raiseEpoch: () => main.call('raiseEpoch', name),
        onState: (state, reason) => void main.call('stateChanged', { disk: name, state, reason }),
        ...(withoutLog === null ? {} : { withoutLog }),
      })
      await disk.ready
      sharing?.open(disk)
      if (log !== undefined) follow(log)
      logs.onFailed = (error) => {
        void sharing?.endLog()
        disk.logFailed(error)
      }
      const server: NbdServer = new NbdServer({
        listenDescriptor: settings.listenDescriptor,
        exports: singleExport(disk),
        logger,
        elsewhere: () => sharing?.elsewhere(server.connections),
      })
      server.start()
      return new ThreadDisk(disk, origin, logs, server, meter, sharing, wanted, writeBack)
    } catch (error) {
      await origin.close(ORIGIN_CLOSE_MILLISECONDS)
      throw error
    }
  }

  status(): ThreadDiskStatus {
    const { disk, logs, meter, sharing } = this
    return {
      name: disk.name,
      sizeBytes: disk.sizeBytes,
      readOnly: disk.readOnly,
      mode: disk.mode,
      state: disk.state,
      reason: disk.reason,
      chunks: disk.log?.chunkCount ?? 0,
      returns: disk.log?.replacement.returns,
      cachedBytes: disk.log?.cachedBytes ?? 0,
      indexBytes: (disk.log?.indexBytes ?? 0) * (1 + (sharing?.threads ?? 0)),
      badPages: meter.badPages,
      phase: logs.phase,
      dirty: disk.dirty,
    }
  }

  /** A disk without its log takes up the mode with the next one. */
  async setMode(mode: Mode): Promise<void> {
    if (!this.#isLogLost()) await this.#cancellable((signal) => this.disk.setMode(mode, signal))
    this.#mode = mode
  }

  /** After it the origin has everything; for `holdMilliseconds` it stays so. */
  flush(holdMilliseconds: number): Promise<void> {
    return this.#cancellable((signal) =>
      endedBy(signal, holdMilliseconds > 0 ? this.disk.hold(holdMilliseconds) : this.disk.flushOrigin()),
    )
  }

  /** Ends what waits for the origin to take what is dirty: it goes on as if it had not been asked for. */
  cancel(): void {
    this.#cancellation?.abort()
  }

  async #cancellable(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const cancellation = new AbortController()
    this.#cancellation = cancellation
    try {
      await work(cancellation.signal)
    } finally {
      if (this.#cancellation === cancellation) this.#cancellation = undefined
    }
  }

  async setReplacement(name: string): Promise<void> {
    this.logs.replacement = await loadReplacement(name)
    const { log } = this.disk
    if (log !== undefined) log.replacement = this.logs.replacement.laid(log.chunkCount * log.pagesPerChunk)
  }

  setMaximumChunks(count: number): void {
    this.logs.setMaximumChunks(count)
    const { log } = this.disk
    if (log === undefined) return
    log.maximumChunks = count
    void log.shrink(count)
  }

  /** Forgets every cached page, in every thread. */
  async invalidate(): Promise<void> {
    await this.disk.invalidate()
    await this.sharing?.settled()
  }

  /** Reads a part of the log back, and what is bad of it from the origin again. */
  async scrub(position: ScrubPosition): Promise<MendedSlice> {
    const cache = this.logs.place?.cache
    if (cache === undefined) return NOTHING_SCRUBBED
    return scrubLog(this.disk, this.logs.phase.sectors, position, (index) => cache.medium(index), this.meter)
  }

  /** Goes on with a new log at `place`, where its old one has `found`. */
  async resumeLog(place: LogPlace, found: readonly FoundChunkPlace[]): Promise<void> {
    await this.sharing?.endLog()
    await this.logs.move(place, found)
    await this.disk.resumeLog(this.#mode)
    this.leaveFailedDevices()
  }

  /** Leaves the log where a device of it has failed, whether or not a request has met the failure. */
  leaveFailedDevices(): void {
    const failures = this.logs.place?.cache.failures
    const { log } = this.disk
    if (failures === undefined || log === undefined) return
    const failed = log.chunks.find(({ chunk }) => failures.has(chunk.deviceIndex))
    if (failed !== undefined) this.disk.logFailed(failures.get(failed.chunk.deviceIndex)!)
  }

  /**
   * Connections end first, then requests, then the log is closed; returns the chunks that it keeps. Where the origin refuses a flush the disk
   * stays served; where it refuses the last one, of what was written meanwhile, another call goes on from there. `drainMilliseconds` is how long
   * the origin has to take what is dirty, before the rest stays in the log; null for as long as it takes.
   */
  async close(options: CloseOptions): Promise<ChunkPlace[]> {
    if (this.#serverClosed === undefined && !this.disk.readOnly) await this.#drain(options)
    await (this.#serverClosed ??= Promise.all([this.server.close(), this.sharing?.close()]))
    await this.disk.close({ ...options, keepDirty: options.drainMilliseconds !== null })
    await this.origin.close(ORIGIN_CLOSE_MILLISECONDS)
    const log = this.disk.log ?? (options.keepLog ? this.disk.lostLog : undefined)
    return (log?.chunks ?? []).map(({ chunk }) => placeOf(chunk))
  }

  async #drain({ discardDirty, drainMilliseconds }: CloseOptions): Promise<void> {
    if (discardDirty) return
    const drained = this.flush(0)
    if (drainMilliseconds === null) return drained
    const timer = systemClock.after(drainMilliseconds, () => this.cancel())
    await drained.catch(() => undefined)
    timer()
  }

  #isLogLost(): boolean {
    return this.disk.state === 'direct' || this.disk.state === 'failed'
  }
}
