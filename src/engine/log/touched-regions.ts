import { PAGE_BYTES, REGION_BYTES } from '../../model/geometry.js'

export const PAGES_PER_REGION = REGION_BYTES / PAGE_BYTES

/**
 * The regions of a disk of which a power cut may leave clean pages stale: a write went, or may have gone, to the origin, and
 * its frame may not be stable. The mark of a region is on stable storage before the first such write; it is taken back when
 * the region was quiet for a while and log and origin have been flushed since.
 */
export class TouchedRegions {
  /** Region -> when it was last written (monotonic milliseconds); only regions whose mark is on stable storage. */
  readonly #touchedAt = new Map<number, number>()

  get size(): number {
    return this.#touchedAt.size
  }

  has(region: number): boolean {
    return this.#touchedAt.has(region)
  }

  touch(region: number, at: number): void {
    this.#touchedAt.set(region, at)
  }

  forget(region: number): void {
    this.#touchedAt.delete(region)
  }

  clear(): void {
    this.#touchedAt.clear()
  }

  /** Regions not written since `before`. */
  quietSince(before: number): number[] {
    const quiet: number[] = []
    for (const [region, at] of this.#touchedAt) if (at < before) quiet.push(region)
    return quiet
  }
}

/** Regions as page ranges, neighbours joined, in ascending order. */
export function regionRanges(regions: readonly number[]): { page: number; count: number }[] {
  const ranges: { page: number; count: number }[] = []
  for (const region of [...regions].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    const page = region * PAGES_PER_REGION
    if (last !== undefined && last.page + last.count === page) last.count += PAGES_PER_REGION
    else ranges.push({ page, count: PAGES_PER_REGION })
  }
  return ranges
}
