import { systemClock } from '../../base/clock.js'
import type { Logger } from '../../base/logger.js'
import { bootId } from '../../base/system-calls.js'
import { PAGE_BYTES } from '../../model/geometry.js'
import { DEFAULT_SEQUENTIAL_LIMIT_BYTES, Disk } from '../disk/disk.js'
import { detectPhase } from '../disk/detect-phase.js'
import { MODE_PATHS } from '../disk/modes/modes.js'
import { LogReader } from '../log/log-reader.js'
import { writeFreeHeader, type LogOptions } from '../log/log.js'
import { openLog, type OpenedLog } from '../log/open-log.js'
import { planRecovery } from '../log/recovery.js'
import { NbdServer } from '../nbd/nbd-server.js'
import { singleExport } from '../nbd/export-table.js'
import { openOrigin } from '../origin/open-origin.js'
import type { Origin } from '../origin/origin.js'
import { loadReplacement } from '../replacement/modules.js'
import type { ReplacementModule } from '../replacement/replacement.js'
import { DiskCounters } from '../statistics/disk-counters.js'
import { SharedDiskMeter } from '../statistics/disk-meter.js'
import type { MainCalls, ThreadCalls, ThreadDiskSettings, ThreadDiskStatus } from './messages.js'
import type { Calls } from './calls.js'
import type { ChunkPlace } from '../pool/pool.js'
import { placeOf, type ThreadCache } from './thread-cache.js'

/** How long a detach waits for an origin that does not answer. */
const ORIGIN_CLOSE_MILLISECONDS = 10_000

/** One reader for all disks of the thread: it never waits, so its buffers are never in two uses. */
const reader = new LogReader()

/** A disk with all that serves it: origin, log, request paths and the NBD server on its socket. */
export class ThreadDisk {
  private constructor(
    readonly disk: Disk,
    readonly origin: Origin,
    readonly server: NbdServer,
    readonly meter: SharedDiskMeter,
    readonly settings: ThreadDiskSettings,
  ) {}

  /** Opens the origin, recovers the log as far as the first answer needs it, and begins to accept connections. */
  static async open(
    wanted: ThreadDiskSettings,
    cache: ThreadCache,
    main: Calls<MainCalls, ThreadCalls>,
    logger: Logger,
  ): Promise<ThreadDisk> {
    const { settings } = wanted
    const replacement = await loadReplacement(settings.replacement)
    const origin = await openOrigin(settings.origin, { readOnly: settings.readOnly })
    try {
      const meter = new SharedDiskMeter(new DiskCounters(wanted.counters))
      let disk: Disk | undefined
      const logs = new DiskLogs(wanted, cache, origin, meter, replacement, (error) => disk?.logFailed(error))
      // What others wrote and the origin could still lose must not be cached: nothing marks it as touched.
      await origin.flush()
      const log = await logs.recover()
      disk = new Disk({
        name: settings.name,
        origin,
        readOnly: settings.readOnly,
        mode: settings.mode,
        blockPages: settings.blockBytes / PAGE_BYTES,
        phase: logs.phase,
        sequentialLimitBytes: DEFAULT_SEQUENTIAL_LIMIT_BYTES,
        reader,
        meter,
        clock: systemClock,
        log,
        newLog: () => logs.create(),
        raiseEpoch: () => main.call('raiseEpoch', settings.name),
        onState: (state, reason) => void main.call('stateChanged', { disk: settings.name, state, reason }),
      })
      const server = new NbdServer({ listenDescriptor: settings.listenDescriptor, exports: singleExport(disk), logger })
      server.start()
      return new ThreadDisk(disk, origin, server, meter, wanted)
    } catch (error) {
      await origin.close(ORIGIN_CLOSE_MILLISECONDS)
      throw error
    }
  }

  status(): ThreadDiskStatus {
    const { disk, meter } = this
    return {
      name: disk.name,
      sizeBytes: disk.sizeBytes,
      readOnly: disk.readOnly,
      mode: disk.mode,
      state: disk.state,
      reason: disk.reason,
      chunks: disk.log?.chunkCount ?? 0,
      cachedBytes: disk.log?.cachedBytes ?? 0,
      indexBytes: disk.log?.indexBytes ?? 0,
      badPages: meter.badPages,
    }
  }

  async setReplacement(name: string): Promise<void> {
    const module = await loadReplacement(name)
    const { log } = this.disk
    if (log !== undefined) log.replacement = module.laid(log.chunkCount * log.pagesPerChunk)
  }

  /** Connections end first, then requests, then the log is closed; returns the chunks that it keeps. */
  async close(options: { keepLog: boolean }): Promise<ChunkPlace[]> {
    await this.server.close()
    await this.disk.close(options)
    await this.origin.close(ORIGIN_CLOSE_MILLISECONDS)
    return (this.disk.log?.chunks ?? []).map(({ chunk }) => placeOf(chunk))
  }
}

/** Makes the logs of one disk: the recovered one, and a new one when a mode without log is left. */
class DiskLogs {
  phase = 0

  constructor(
    readonly wanted: ThreadDiskSettings,
    readonly cache: ThreadCache,
    readonly origin: Origin,
    readonly meter: SharedDiskMeter,
    readonly replacement: ReplacementModule,
    readonly onFailed: (error: Error) => void,
  ) {}

  async recover(): Promise<OpenedLog | undefined> {
    const { settings, found } = this.wanted
    const chunks = found.map((place) => ({ chunk: this.cache.chunkAt(place), header: place.header }))
    const plan = await planRecovery(chunks, { chunkBytes: this.cache.chunkBytes, bootId: bootId() })
    const newest = plan.chunks.at(-1)?.found.header
    const keepPages =
      settings.trustCleanPages &&
      newest !== undefined &&
      plan.epoch === settings.epoch &&
      newest.diskBytes === this.origin.description.sizeBytes
    this.phase = keepPages ? newest.phase : await detectPhase(this.origin)
    if (MODE_PATHS[settings.mode].logs) {
      return openLog(plan, await this.#options(), { ...this.#laid(), keepPages })
    }
    for (const { chunk } of chunks) {
      await writeFreeHeader(chunk, this.cache.cacheId, systemClock.now())
      this.cache.give(chunk)
    }
    return undefined
  }

  async create(): Promise<OpenedLog> {
    const plan = await planRecovery([], { chunkBytes: this.cache.chunkBytes, bootId: bootId() })
    return openLog(plan, await this.#options(), { ...this.#laid(), keepPages: false })
  }

  #laid(): { replacement: ReturnType<ReplacementModule['laid']>; maximumChunks: number } {
    const { maximumChunks } = this.wanted
    return { replacement: this.replacement.laid(this.cache.chunkBytes / PAGE_BYTES), maximumChunks }
  }

  async #options(): Promise<LogOptions> {
    const { settings } = this.wanted
    this.cache.prepare()
    return {
      identity: {
        logId: settings.logId,
        diskName: settings.name,
        origin: settings.origin,
        diskBytes: this.origin.description.sizeBytes,
        phase: this.phase,
      },
      epoch: settings.epoch,
      bootId: bootId(),
      source: this.cache,
      clock: systemClock,
      counters: this.meter,
      defer: setImmediate,
      onFailed: this.onFailed,
    }
  }
}
