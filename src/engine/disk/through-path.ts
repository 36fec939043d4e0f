import { EXTENT_KIND } from '../../format/frame.js'
import type { Batch } from '../log/batch.js'
import type { Log } from '../log/log.js'
import { markExtent, type StagedExtent } from '../log/staged-extent.js'
import type { Origin } from '../origin/origin.js'
import type { Fills } from './fills.js'
import type { OriginFlusher } from './origin-flusher.js'
import type { PageSpace } from './page-space.js'
import type { RangeLock, RangeLocks } from './range-locks.js'
import type { TouchMarks } from './touch-marks.js'
import type { ChangeKind } from './unflushed.js'

export interface ThroughOptions {
  readonly origin: Origin
  readonly space: PageSpace
  readonly locks: RangeLocks
  readonly fills: Fills
  readonly marks: TouchMarks
  readonly flusher: OriginFlusher
  readonly currentLog: () => Log | undefined
  /** Ends when the disk has left a log that was lost, with its epoch raised; undefined where it is not leaving one. */
  readonly leavingLog: () => Promise<void> | undefined
  readonly logLost: (error: unknown) => Promise<void>
  readonly originWrite: (bytes: number) => void
  /** Called when a change has ended. */
  readonly released: () => void
}

/** One change: what the log is told of it, and how the origin is. */
export interface ThroughChange {
  readonly kind: ChangeKind
  readonly offset: number
  readonly length: number
  /** Extents for the log; called once the change is alone on its pages. */
  readonly record: () => StagedExtent[] | Promise<StagedExtent[]>
  readonly send: () => Promise<void>
}

/**
 * The path of a change that the origin has before it is answered: alone on its pages, no fill installs what it read before, its regions are marked,
 * the log has it, then the origin, then it is settled. Where the origin refuses, the log says that the pages are invalid.
 */
export class ThroughPath {
  readonly #options: ThroughOptions

  constructor(options: ThroughOptions) {
    this.#options = options
  }

  /**
   * Does a change of whole pages if nothing is to be waited for before the log has it; else returns false and has done nothing. `done`
   * is called once it is answered for, without a promise in between but the origin's own.
   */
  tryChange(change: ThroughChange, done: (error: Error | undefined) => void): boolean {
    const { space, locks, fills, marks, leavingLog, currentLog } = this.#options
    const log = currentLog()
    if (leavingLog() !== undefined || log?.failure !== undefined) return false
    const { offset, length } = change
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, length)
    if (log !== undefined && !marks.isTouched(first, last)) return false
    const lock = locks.tryAcquire(first, last)
    if (lock === undefined) return false
    fills.cancel(first, last)
    if (log === undefined) {
      this.#sendNow(change, lock, undefined, done)
      return true
    }
    let extents: StagedExtent[] | Promise<StagedExtent[]>
    try {
      extents = change.record()
    } catch {
      // A part of a page that was lost: whoever waits for the change hears of it.
      locks.release(lock)
      return false
    }
    if (extents instanceof Promise) {
      this.#finish(change, lock, log, extents).then(() => done(undefined), done)
      return true
    }
    const batch = stage(log, extents)
    batch.whenWritten((error) => {
      if (error === undefined && leavingLog() === undefined) this.#sendNow(change, lock, batch, done)
      else this.#goOn(change, lock, log, batch, error).then(() => done(undefined), done)
    })
    return true
  }

  async change(change: ThroughChange): Promise<void> {
    const { space, locks, fills, marks, leavingLog, currentLog, logLost } = this.#options
    const { offset, length } = change
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, length)
    const lock = await locks.acquire(first, last)
    fills.cancel(first, last)
    let log: Log | undefined
    let extents: StagedExtent[] | Promise<StagedExtent[]> = []
    try {
      await leavingLog()
      log = currentLog()
      if (log !== undefined) {
        try {
          await marks.touch(log, first, last)
        } catch (error) {
          if (!this.#isLogFailure(log)) throw error
          await logLost(error)
          log = undefined
        }
      }
      if (log !== undefined) extents = change.record()
    } catch (error) {
      this.#release(lock, undefined)
      throw error
    }
    await this.#finish(change, lock, log, extents)
  }

  async #finish(
    change: ThroughChange,
    lock: RangeLock,
    log: Log | undefined,
    recorded: StagedExtent[] | Promise<StagedExtent[]>,
  ): Promise<void> {
    let batch: Batch | undefined
    let failure: Error | undefined
    if (log !== undefined) {
      try {
        const extents = await recorded
        if (log.failure !== undefined) throw log.failure
        batch = stage(log, extents)
        await batch.written()
      } catch (error) {
        failure = error as Error
      }
    }
    await this.#goOn(change, lock, log, batch, failure)
  }

  /** Goes on behind the log, which has the change or has failed. */
  async #goOn(
    change: ThroughChange,
    lock: RangeLock,
    log: Log | undefined,
    batch: Batch | undefined,
    failure: Error | undefined,
  ): Promise<void> {
    const { leavingLog, logLost } = this.#options
    let flushed: Promise<void> | undefined
    try {
      if (failure !== undefined) {
        if (log === undefined || !this.#isLogFailure(log)) throw failure
        batch = undefined
        await logLost(failure)
      }
      // The log may have been lost while this change was on its way into it: nothing goes past it before the epoch is raised.
      await leavingLog()
      try {
        await change.send()
      } catch (error) {
        if (batch !== undefined) await this.#invalidate(lock)
        throw error
      }
      this.#options.originWrite(change.length)
      flushed = this.#options.flusher.note(change.kind, change.offset, change.length)
    } finally {
      this.#release(lock, batch)
    }
    await flushed
  }

  /** The same without a promise of our own; the log has the change, or the disk has none. */
  #sendNow(
    change: ThroughChange,
    lock: RangeLock,
    batch: Batch | undefined,
    done: (error: Error | undefined) => void,
  ): void {
    change.send().then(
      () => {
        this.#options.originWrite(change.length)
        const flushed = this.#options.flusher.note(change.kind, change.offset, change.length)
        this.#release(lock, batch)
        if (flushed === undefined) done(undefined)
        else flushed.then(() => done(undefined), done)
      },
      (error: unknown) => {
        const invalid = batch === undefined ? Promise.resolve() : this.#invalidate(lock)
        const end = (failure: unknown): void => {
          this.#release(lock, batch)
          done(failure as Error)
        }
        invalid.then(() => end(error), end)
      },
    )
  }

  #release(lock: RangeLock, batch: Batch | undefined): void {
    const { locks, marks, released } = this.#options
    batch?.settle()
    marks.released(lock)
    locks.release(lock)
    released()
  }

  /** What the origin refused may be there or not: nothing of it is served from the log. */
  async #invalidate({ first, last }: RangeLock): Promise<void> {
    const log = this.#options.currentLog()
    if (log === undefined) return
    log.stageMark(markExtent(EXTENT_KIND.invalid, first, last - first + 1))
    try {
      await log.appended()
    } catch (error) {
      await this.#options.logLost(error)
    }
  }

  #isLogFailure(log: Log): boolean {
    return log.failure !== undefined || this.#options.currentLog() !== log
  }
}

/** Stages the extents of one request; the batch is to be settled once. */
export function stage(log: Log, extents: readonly StagedExtent[]): Batch {
  let batch: Batch | undefined
  for (const extent of extents) batch = log.stageWrite(extent)
  batch!.join()
  return batch!
}
