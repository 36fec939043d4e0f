import type { Clock } from '../../base/clock.js'
import { EXTENT_KIND } from '../../format/frame.js'
import type { Batch, Written } from '../log/batch.js'
import type { Log } from '../log/log.js'
import type { StagedExtent } from '../log/staged-extent.js'
import type { Origin } from '../origin/origin.js'
import type { WriteBackSettings } from '../../model/write-back.js'
import { Destage } from './destage.js'
import type { DiskMeter } from './disk.js'
import type { DirtyLimits } from './dirty-limits.js'
import type { Fills } from './fills.js'
import type { PageSpace } from './page-space.js'
import type { RangeLocks } from './range-locks.js'
import type { RequestExtents } from './request-extents.js'
import { WritePace } from './write-pace.js'

/** Ranges of zeroes that may be dirty; beyond, a zero or trim waits for its turn at the origin. */
const MAXIMUM_ZERO_RANGES = 4096

export interface WriteBackOptions {
  readonly name: string
  readonly log: Log
  readonly origin: Origin
  readonly space: PageSpace
  readonly extents: RequestExtents
  readonly locks: RangeLocks
  readonly fills: Fills
  readonly clock: Clock
  readonly limits: () => DirtyLimits
  readonly settings: () => Pick<WriteBackSettings, 'order' | 'barrier'>
  readonly meter: Pick<DiskMeter, 'originWrite' | 'barrier' | 'originBarriers'>
  readonly onTrouble: (reason: string | null) => void
  readonly onDamage: (error: Error) => void
}

/** What is known of what a disk's origin lacks. */
export interface DirtyStatus {
  readonly dirtyBytes: number
  readonly dirtyAgeSeconds: number
  readonly secondsToFlush: number
  /** Pages that the origin refuses, and pages that were lost on the cache device before it had them. */
  readonly stuckPages: number
  readonly lostPages: number
}

/**
 * The path of a change in write-back: it is answered when the log has it and everything before it. The order of the log is the order of the
 * disk, so a change of whole pages needs no lock; one that takes parts of pages from the cache holds them until the log has it.
 */
export class WriteBackPath {
  readonly #options: WriteBackOptions
  readonly #pace: WritePace
  readonly destage: Destage
  #isDraining = false
  #guestAt = 0
  /** What the last barrier covers: those that come together, or after nothing, are one. */
  #barrierLsn = 0

  constructor(options: WriteBackOptions) {
    this.#options = options
    const { log, limits, space, clock } = options
    this.#pace = new WritePace(
      clock,
      limits,
      () => ({ dirtyBytes: log.dirtyBytes, bytesPerSecond: this.destage.bytesPerSecond }),
      () => this.destage.hurry(),
    )
    this.destage = new Destage({
      ...options,
      phaseBytes: space.phaseBytes,
      guestAt: () => this.#guestAt,
      written: (bytes) => options.meter.originWrite(bytes),
      passedBarriers: (count) => options.meter.originBarriers(count),
      onSettled: () => this.#pace.eased(),
    })
  }

  /** A guest wants something: the destage gives way. */
  noteGuest(): void {
    this.#guestAt = this.#options.clock.monotonic()
  }

  get status(): DirtyStatus {
    const { log, clock } = this.#options
    const { dirtyBytes } = log
    const { oldest, bytesPerSecond, stuckPages } = this.destage
    return {
      dirtyBytes,
      dirtyAgeSeconds: oldest === undefined ? 0 : Math.max(0, (clock.monotonic() - oldest) / 1000),
      secondsToFlush: dirtyBytes / bytesPerSecond,
      stuckPages,
      lostPages: log.badPages.size,
    }
  }

  /**
   * Begins a write of whole pages if nothing is to be waited for before it is staged; else returns false and has done nothing.
   * `written` is called once the log has it, without a promise in between.
   */
  tryWrite(offset: number, data: Buffer, written: Written): boolean {
    const { log, space, locks, fills, limits } = this.#options
    if (this.#isDraining || !space.isWhole(offset, data.length) || log.failure !== undefined) return false
    if (log.dirtyBytes >= this.#pace.slowFromBytes(limits())) return false
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, data.length)
    if (locks.overlaps(first, last)) return false
    fills.cancel(first, last)
    this.#stage(this.#options.extents.data(offset, data) as StagedExtent[]).whenWritten(written)
    return true
  }

  /** Ends when the log has the write, and with `fua` on stable storage. */
  async write(offset: number, data: Buffer, fua: boolean): Promise<void> {
    await this.#pace.admit(data.length)
    await this.#change(offset, data.length, () => this.#options.extents.data(offset, data), fua)
  }

  async zero(kind: 'zero' | 'trim', offset: number, length: number, fua: boolean): Promise<void> {
    const { log, extents } = this.#options
    if (log.zeroRanges.size >= MAXIMUM_ZERO_RANGES) await this.destage.drain()
    await this.#change(offset, length, () => extents.marksOfWholePages(EXTENT_KIND[kind], offset, length), fua)
  }

  /** Ends when every write that was answered is on stable storage; while it drains, at the origin. */
  async flush(): Promise<void> {
    if (this.#isDraining) await this.destage.drain()
    else await this.#commit()
  }

  async #change(
    offset: number,
    length: number,
    record: () => StagedExtent[] | Promise<StagedExtent[]>,
    fua: boolean,
  ): Promise<void> {
    const { log, space, locks, fills } = this.#options
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, length)
    const lock = await locks.acquire(first, last)
    let batch: Batch
    try {
      // What is in the log but not found by reads yet would be missing from a page that is joined with it.
      while (log.isChanging(first, last)) await log.appended()
      this.#refuseFailed()
      const extents = await record()
      fills.cancel(first, last)
      this.#refuseFailed()
      batch = this.#stage(extents)
      await batch.written()
    } finally {
      locks.release(lock)
    }
    if (this.#isDraining) await this.destage.passed(batch.endLsn)
    else if (fua) await this.#commit()
  }

  /** A barrier: what was written before is on stable storage when this ends. */
  async #commit(): Promise<void> {
    const { log, meter } = this.#options
    const { writtenLsn } = log
    if (writtenLsn > Math.max(this.#barrierLsn, log.stableLsn)) {
      this.#barrierLsn = writtenLsn
      meter.barrier()
    }
    await log.commit()
  }

  #refuseFailed(): void {
    const { failure } = this.#options.log
    if (failure !== undefined) throw failure
  }

  #stage(extents: readonly StagedExtent[]): Batch {
    const { log } = this.#options
    let batch: Batch | undefined
    for (const extent of extents) batch = log.stageWrite(extent)
    this.destage.noteWrite()
    return batch!
  }

  /** From now on a change is answered when the origin has it, so that what is dirty comes to an end. */
  beginDraining(): void {
    this.#isDraining = true
    this.#pace.release()
  }

  endDraining(): void {
    this.#isDraining = false
    this.#pace.resume()
  }

  /** Nothing is sent to the origin any more, and nobody waits. */
  async stop(): Promise<void> {
    this.#pace.release()
    await this.destage.stop()
  }
}
