import type { Clock } from '../../base/clock.js'
import { EXTENT_KIND } from '../../format/frame.js'
import type { Log } from '../log/log.js'
import { markExtent } from '../log/staged-extent.js'
import { PAGES_PER_REGION, TouchedRegions } from '../log/touched-regions.js'
import type { RangeLock, RangeLocks } from './range-locks.js'

/** A region that was not written for so long, and flushed since, is no longer touched. */
const QUIET_MILLISECONDS = 30_000

/** The marks of touched regions: on stable storage before a change goes to the origin, taken back when it is quiet. */
export class TouchMarks {
  readonly #touched = new TouchedRegions()
  readonly #touching = new Map<number, Promise<void>>()
  #quietTimer: (() => void) | undefined
  #closed = false

  constructor(
    readonly clock: Clock,
    readonly locks: RangeLocks,
    readonly currentLog: () => Log | undefined,
    readonly flush: () => Promise<void>,
  ) {}

  /** Regions that the log that is taken up has as touched. */
  resume(log: Log): void {
    const now = this.clock.monotonic()
    for (const region of log.touchedRegions) this.#touched.touch(region, now)
    this.#quietLater()
  }

  clear(): void {
    this.#touched.clear()
  }

  close(): void {
    this.#closed = true
    this.#quietTimer?.()
  }

  /** Whether all regions of the pages are marked on stable storage; if so, they are touched anew. */
  isTouched(first: number, last: number): boolean {
    const now = this.clock.monotonic()
    for (const region of regionsOf(first, last)) {
      if (!this.#touched.has(region)) return false
      this.#touched.touch(region, now)
    }
    return true
  }

  /** Undefined where all regions of the pages are marked on stable storage; else ends when they are. */
  touch(log: Log, first: number, last: number): Promise<void> | undefined {
    const now = this.clock.monotonic()
    let missing: number[] | undefined
    let waiting: Promise<void>[] | undefined
    for (const region of regionsOf(first, last)) {
      if (this.#touched.has(region)) {
        this.#touched.touch(region, now)
        continue
      }
      const touching = this.#touching.get(region)
      if (touching !== undefined) (waiting ??= []).push(touching)
      else (missing ??= []).push(region)
    }
    if (missing === undefined && waiting === undefined) return undefined
    if (missing !== undefined) (waiting ??= []).push(this.#mark(log, missing))
    return Promise.all(waiting!).then(() => undefined)
  }

  /** A change of these pages ended: a region that a slow origin kept busy is as fresh as its last answer. */
  released(lock: RangeLock): void {
    const now = this.clock.monotonic()
    for (const region of regionsOf(lock.first, lock.last))
      if (this.#touched.has(region)) this.#touched.touch(region, now)
    this.#quietLater()
  }

  /** Takes back every mark, after log and origin were flushed with nothing under way. */
  async takeBackAll(log: Log): Promise<void> {
    for (const region of [...log.touchedRegions])
      log.stageMark(markExtent(EXTENT_KIND.quiet, region * PAGES_PER_REGION, PAGES_PER_REGION))
    this.#touched.clear()
    await log.appended()
  }

  #mark(log: Log, regions: readonly number[]): Promise<void> {
    const first = regions[0]!
    const last = regions.at(-1)!
    log.stageMark(markExtent(EXTENT_KIND.touched, first * PAGES_PER_REGION, (last - first + 1) * PAGES_PER_REGION))
    const marked = log
      .appended()
      .then(() => log.commit())
      .then(() => {
        const now = this.clock.monotonic()
        for (const region of regions) this.#touched.touch(region, now)
      })
      .finally(() => {
        for (const region of regions) this.#touching.delete(region)
      })
    for (const region of regions) this.#touching.set(region, marked)
    return marked
  }

  #quietLater(): void {
    if (this.#touched.size === 0 || this.#closed) return
    this.#quietTimer ??= this.clock.after(QUIET_MILLISECONDS, () => {
      this.#quietTimer = undefined
      this.#takeBack().then(
        () => this.#quietLater(),
        // A flush that failed is the guest's to hear of at its own next one; the marks stay.
        () => this.#quietLater(),
      )
    })
  }

  /** Takes back the marks of regions that were quiet, after log and origin were flushed. */
  async #takeBack(): Promise<void> {
    const before = this.clock.monotonic() - QUIET_MILLISECONDS
    const isQuiet = (region: number): boolean =>
      !this.locks.overlaps(region * PAGES_PER_REGION, (region + 1) * PAGES_PER_REGION - 1)
    if (!this.#touched.quietSince(before).some(isQuiet)) return
    const log = this.currentLog()
    if (log === undefined) return
    await log.appended()
    await log.commit()
    await this.flush()
    if (log !== this.currentLog()) return
    for (const region of this.#touched.quietSince(before).filter(isQuiet)) {
      this.#touched.forget(region)
      log.stageMark(markExtent(EXTENT_KIND.quiet, region * PAGES_PER_REGION, PAGES_PER_REGION))
    }
  }
}

export function* regionsOf(first: number, last: number): Generator<number> {
  for (let region = Math.floor(first / PAGES_PER_REGION); region <= Math.floor(last / PAGES_PER_REGION); region++)
    yield region
}
