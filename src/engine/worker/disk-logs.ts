import { systemClock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { bootId } from '../../base/system-calls.js'
import { PAGE_BYTES } from '../../model/geometry.js'
import type { Mode } from '../../model/mode.js'
import type { DiskPhase } from '../../model/phase.js'
import { detectPhase } from '../disk/detect-phase.js'
import { MODE_PATHS } from '../disk/modes/modes.js'
import { writeFreeHeader } from '../log/free-header.js'
import type { LogOptions } from '../log/log.js'
import { openLog, type OpenedLog } from '../log/open-log.js'
import { planRecovery, type FoundChunk, type RecoveryPlan } from '../log/recovery.js'
import type { DiskSettings } from '../engine.js'
import type { Origin } from '../origin/origin.js'
import type { FoundChunkPlace } from '../pool/pool.js'
import type { ReplacementModule } from '../replacement/replacement.js'
import type { SharedDiskMeter } from '../statistics/disk-meter.js'
import type { ThreadCache } from './thread-cache.js'

/** Where the logs of a disk are. */
export interface LogPlace {
  readonly cache: ThreadCache
  readonly maximumChunks: number
  /** Of the stamp when a log is made there. */
  readonly epoch: number
}

/** Makes the logs of one disk: the recovered one, and a new one where a mode without log or a lost log is left behind. */
export class DiskLogs {
  replacement: ReplacementModule
  /** Called when a device failed under a log. */
  onFailed: (error: Error) => void = () => undefined
  /** Undefined while its cache is not open. */
  #place: LogPlace | undefined
  #phase: DiskPhase = { sectors: 0, source: 'none' }
  /** The newest that any of its logs had: none is used twice. */
  #session = 0

  constructor(
    readonly settings: DiskSettings,
    readonly origin: Origin,
    readonly meter: SharedDiskMeter,
    replacement: ReplacementModule,
    place: LogPlace | undefined,
  ) {
    this.replacement = replacement
    this.#place = place
  }

  get place(): LogPlace | undefined {
    return this.#place
  }

  /** Known after {@link recover}; another one only with a new log. */
  get phase(): DiskPhase {
    return this.#phase
  }

  /** Most that a log of the disk may hold. */
  get maximumBytes(): number {
    return this.#place === undefined ? 0 : this.#place.maximumChunks * this.#place.cache.chunkBytes
  }

  setMaximumChunks(maximumChunks: number): void {
    if (this.#place !== undefined) this.#place = { ...this.#place, maximumChunks }
  }

  /** The log that was found, as far as the first answer needs it; undefined where the mode or the lack of a cache wants none. */
  async recover(mode: Mode, found: readonly FoundChunkPlace[]): Promise<OpenedLog | undefined> {
    const place = this.#place
    if (place === undefined) {
      this.#phase = await detectPhase(this.origin)
      return undefined
    }
    const { plan, chunks } = await this.#plan(place, found)
    const newest = plan.chunks.at(-1)?.found.header
    if (this.settings.originIsWhole && plan.epoch < place.epoch) {
      // The disk left this log when nothing in it was needed, and went on without it.
      await free(place.cache, chunks)
      this.#phase = await detectPhase(this.origin)
      return MODE_PATHS[mode].logs ? this.create() : undefined
    }
    const keepPages =
      this.settings.trustCleanPages &&
      newest !== undefined &&
      plan.epoch === place.epoch &&
      newest.diskBytes === this.origin.description.sizeBytes
    refuseToLose(this.settings.name, plan, keepPages)
    this.#phase = keepPages ? { sectors: newest.phase, source: 'log' } : await detectPhase(this.origin)
    if (MODE_PATHS[mode].logs || plan.dirtyBytes > 0) return this.#open(place, plan, keepPages)
    await free(place.cache, chunks)
    return undefined
  }

  /** A new, empty log; with another phase where the disk's traffic asks for that. */
  async create(phaseOfTraffic?: number): Promise<OpenedLog> {
    const place = this.#place
    if (place === undefined) throw new Error(`disk ${this.settings.name} has no cache to make a log in`)
    if (phaseOfTraffic !== undefined) this.#phase = { sectors: phaseOfTraffic, source: 'traffic' }
    return this.#open(place, (await this.#plan(place, [])).plan, false)
  }

  /** From now on logs are made at `place`; what an old one has there, `found`, is freed. */
  async move(place: LogPlace, found: readonly FoundChunkPlace[]): Promise<void> {
    const { chunks } = await this.#plan(place, found)
    await free(place.cache, chunks)
    this.#place = place
  }

  async #plan(
    { cache }: LogPlace,
    found: readonly FoundChunkPlace[],
  ): Promise<{ plan: RecoveryPlan; chunks: FoundChunk[] }> {
    const chunks = found.map((place) => ({ chunk: cache.chunkAt(place), header: place.header }))
    const plan = await planRecovery(chunks, { chunkBytes: cache.chunkBytes, bootId: bootId() })
    this.#session = Math.max(this.#session, plan.newestSession)
    return { plan: { ...plan, newestSession: this.#session }, chunks }
  }

  async #open(place: LogPlace, plan: RecoveryPlan, keepPages: boolean): Promise<OpenedLog> {
    const { cache, maximumChunks } = place
    this.#session++
    cache.prepare()
    const replacement = this.replacement.laid(cache.chunkBytes / PAGE_BYTES)
    return openLog(plan, this.#options(place), { replacement, maximumChunks, keepPages })
  }

  #options({ cache, epoch }: LogPlace): LogOptions {
    const { name, logId, origin } = this.settings
    const { sizeBytes } = this.origin.description
    return {
      identity: { logId, diskName: name, origin, diskBytes: sizeBytes, phase: this.#phase.sectors },
      epoch,
      bootId: bootId(),
      source: cache,
      clock: systemClock,
      counters: this.meter,
      defer: setImmediate,
      onFailed: (error) => this.onFailed(error),
    }
  }
}

/** What is dirty is neither dropped nor guessed. */
function refuseToLose(disk: string, { dirtyBytes, isDirtyDamaged }: RecoveryPlan, keepPages: boolean): void {
  const hint = `let it go on from what the cache has, or from the origin: vmcache disk resolve ${disk} --keep cache|origin`
  if (isDirtyDamaged) {
    const seen = 'frames that had been stable cannot be read back'
    throw new VmcacheError('CORRUPT', `the log of disk ${disk} is damaged where its origin lacks it: ${seen}`, { hint })
  }
  if (dirtyBytes > 0 && !keepPages) {
    throw new VmcacheError(
      'ORIGIN_CHANGED',
      `the log of disk ${disk} holds ${dirtyBytes} bytes that its origin lacks, and the origin is not as the log left it`,
      { hint, details: { dirtyBytes } },
    )
  }
}

/** Oldest first: what a crash leaves of it is a log that lost its oldest chunks, as reclaim leaves one. */
async function free(cache: ThreadCache, chunks: readonly FoundChunk[]): Promise<void> {
  for (const { chunk } of [...chunks].sort((a, b) => a.header.sequence - b.header.sequence)) {
    await writeFreeHeader(chunk, cache.cacheId, systemClock.now())
    cache.give(chunk)
  }
}
