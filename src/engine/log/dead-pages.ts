const GROUP_PAGES = 4096
/** Ranges of more groups than this are kept as they are. */
const MAXIMUM_GROUPS = 4096
const ALL = new Uint8Array(0)

/** A set of pages that only grows: bitmaps for groups of 4,096 pages, and a few very long ranges. */
export class DeadPages {
  readonly #groups = new Map<number, Uint8Array>()
  readonly #ranges: { readonly page: number; readonly end: number }[] = []

  add(page: number, count: number): void {
    const end = page + count
    if (count > GROUP_PAGES * MAXIMUM_GROUPS) {
      this.#ranges.push({ page, end })
      return
    }
    for (let at = page; at < end;) {
      const group = Math.floor(at / GROUP_PAGES)
      const groupEnd = Math.min(end, (group + 1) * GROUP_PAGES)
      let bits = this.#groups.get(group)
      if (groupEnd - at === GROUP_PAGES) bits = ALL
      else if (bits !== ALL) {
        bits ??= new Uint8Array(GROUP_PAGES / 8)
        for (let each = at; each < groupEnd; each++) bits[(each % GROUP_PAGES) >>> 3]! |= 1 << (each & 7)
      }
      this.#groups.set(group, bits!)
      at = groupEnd
    }
  }

  get isEmpty(): boolean {
    return this.#groups.size === 0 && this.#ranges.length === 0
  }

  has(page: number): boolean {
    const bits = this.#groups.get(Math.floor(page / GROUP_PAGES))
    if (bits === ALL || (bits !== undefined && (bits[(page % GROUP_PAGES) >>> 3]! & (1 << (page & 7))) !== 0))
      return true
    return this.#ranges.some((range) => page >= range.page && page < range.end)
  }
}
