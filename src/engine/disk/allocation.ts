import { PAGE_BYTES } from '../../model/geometry.js'
import { NOWHERE } from '../index/page-table.js'
import type { Log } from '../log/log.js'
import type { AllocationExtent } from '../origin/origin.js'
import type { PageSpace } from './page-space.js'

/**
 * What a range of a disk in write-back holds: what its origin says, but for pages that are cached, which are data, and for what was zeroed and
 * the origin does not know yet. `extents` describe the range from its start.
 */
export function allocationOf(
  extents: readonly AllocationExtent[],
  offset: number,
  length: number,
  space: PageSpace,
  log: Log,
): AllocationExtent[] {
  const described: AllocationExtent[] = []
  const add = (bytes: number, hole: boolean, zero: boolean): void => {
    const last = described.at(-1)
    if (last !== undefined && last.hole === hole && last.zero === zero)
      described[described.length - 1] = { length: last.length + bytes, hole, zero }
    else described.push({ length: bytes, hole, zero })
  }
  let at = offset
  for (const extent of extents) {
    const end = Math.min(offset + length, at + extent.length)
    while (at < end) {
      const page = space.firstPage(at)
      const stop = Math.min(end, space.startOf(page) + PAGE_BYTES)
      const isCached = log.table.find(page) !== NOWHERE || log.badPages.has(page)
      if (isCached) add(stop - at, false, false)
      else if (log.zeroRanges.has(page)) add(stop - at, true, true)
      else add(stop - at, extent.hole, extent.zero)
      at = stop
    }
  }
  return described
}
