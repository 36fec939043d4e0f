/** A run of pages. */
export interface PageRange {
  readonly page: number
  readonly count: number
}

/** The same pages in ascending order; ranges that touch each other are one. */
export function inOrder(ranges: readonly PageRange[]): PageRange[] {
  const merged: { page: number; count: number }[] = []
  for (const { page, count } of [...ranges].sort((a, b) => a.page - b.page)) {
    const last = merged.at(-1)
    if (last !== undefined && page <= last.page + last.count)
      last.count = Math.max(last.count, page + count - last.page)
    else merged.push({ page, count })
  }
  return merged
}

/** At most `most` ranges that cover all the given ones, which are in order: the smallest gaps are closed. */
export function joinClosest(ranges: readonly PageRange[], most: number): readonly PageRange[] {
  if (ranges.length <= most) return ranges
  const gaps = ranges.slice(1).map((range, index) => range.page - ranges[index]!.page - ranges[index]!.count)
  const widest = [...gaps].sort((a, b) => b - a)[most - 2]!
  const joined: { page: number; count: number }[] = []
  for (const range of ranges) {
    const last = joined.at(-1)
    const end = range.page + range.count
    if (last !== undefined && (range.page - last.page - last.count < widest || joined.length === most))
      last.count = end - last.page
    else joined.push({ ...range })
  }
  return joined
}
