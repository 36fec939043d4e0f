/** A range of pages that a change holds, or waits to hold. */
export interface RangeLock {
  readonly first: number
  readonly last: number
  released: boolean
  /** Whoever waits for this range to be free, in order of arrival. */
  readonly waiters: (() => void)[]
}

/**
 * Changes that overlap are never at the origin together: the later one waits. Ranges are pages, so that two writes to parts of
 * one page follow each other too. First come, first served among those that overlap, so nobody waits in a circle.
 */
export class RangeLocks {
  readonly #locks: RangeLock[] = []

  overlaps(first: number, last: number): boolean {
    for (const lock of this.#locks) if (lock.first <= last && first <= lock.last) return true
    return false
  }

  /** Takes [first, last] at once; undefined where something overlaps it. */
  tryAcquire(first: number, last: number): RangeLock | undefined {
    if (this.overlaps(first, last)) return undefined
    const mine: RangeLock = { first, last, released: false, waiters: [] }
    this.#locks.push(mine)
    return mine
  }

  /** Takes [first, last], after all that took an overlapping range before. */
  async acquire(first: number, last: number): Promise<RangeLock> {
    const before = this.#locks.filter((lock) => lock.first <= last && first <= lock.last)
    const mine: RangeLock = { first, last, released: false, waiters: [] }
    this.#locks.push(mine)
    for (const lock of before) if (!lock.released) await new Promise<void>((resolve) => lock.waiters.push(resolve))
    return mine
  }

  release(lock: RangeLock): void {
    lock.released = true
    this.#locks.splice(this.#locks.indexOf(lock), 1)
    for (const wake of lock.waiters) wake()
  }
}
