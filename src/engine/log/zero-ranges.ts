interface ZeroRange {
  readonly page: number
  readonly end: number
  /** Settled when `settledLsn` has come this far. */
  readonly lsn: number
}

/**
 * Pages that a guest zeroed or trimmed in write-back and that the origin still has as they were. What the table has of a page was
 * written later and comes first. Ranges come in the order of the log and go in the same order.
 */
export class ZeroRanges {
  #ranges: ZeroRange[] = []

  get size(): number {
    return this.#ranges.length
  }

  add(page: number, count: number, lsn: number): void {
    this.#ranges.push({ page, end: page + count, lsn })
  }

  /** For recovery, which reads the log from its end: a range that is older than all that are known. */
  addOlder(page: number, count: number, lsn: number): void {
    this.#ranges.unshift({ page, end: page + count, lsn })
  }

  has(page: number): boolean {
    for (const range of this.#ranges) if (range.page <= page && page < range.end) return true
    return false
  }

  /** Whether some page of [first, last] is in here. */
  overlaps(first: number, last: number): boolean {
    for (const range of this.#ranges) if (range.page <= last && first < range.end) return true
    return false
  }

  /** The origin has what was written to `page` after it was zeroed. */
  remove(page: number): void {
    this.#ranges = this.#ranges.flatMap((range) => {
      if (page < range.page || page >= range.end) return [range]
      return [
        { ...range, end: page },
        { ...range, page: page + 1 },
      ].filter((part) => part.page < part.end)
    })
  }

  /** The origin has all that was zeroed below `lsn`. */
  settle(lsn: number): void {
    let settled = 0
    while (settled < this.#ranges.length && this.#ranges[settled]!.lsn <= lsn) settled++
    if (settled > 0) this.#ranges = this.#ranges.slice(settled)
  }
}
