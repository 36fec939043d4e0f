import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { Device } from '../device/device.js'
import type { Disk } from '../disk/disk.js'
import { NOWHERE } from '../index/page-table.js'
import type { MendedSlice } from '../scrub/scrub-disks.js'
import { scrubSlice, type ScrubPosition } from '../scrub/scrub-slice.js'
import { COUNTER } from '../statistics/disk-counters.js'
import type { SharedDiskMeter } from '../statistics/disk-meter.js'

export const NOTHING_SCRUBBED: MendedSlice = {
  next: null,
  pages: 0,
  repairedPages: 0,
  droppedPages: 0,
  damagedPages: [],
}

/**
 * Reads a slice of a disk's log back and brings what was bad into the cache again. While the index is read nothing is: the slice is
 * asked for again. @param phase sectors that are added before the division into pages
 */
export async function scrubLog(
  disk: Disk,
  phase: number,
  position: ScrubPosition,
  medium: (deviceIndex: number) => Promise<Device>,
  meter: SharedDiskMeter,
): Promise<MendedSlice> {
  const { log } = disk
  if (log === undefined || log.failure !== undefined) return NOTHING_SCRUBBED
  if (log.onForgotten !== undefined) return { ...NOTHING_SCRUBBED, next: position }
  const { next, pages, bad, damaged } = await scrubSlice(log, position, medium, meter)
  let repairedPages = 0
  for (const page of bad) if (await refill(disk, page, phase * SECTOR_BYTES)) repairedPages++
  meter.counters.add(COUNTER.scrubbedPages, pages)
  meter.counters.add(COUNTER.repairedPages, repairedPages)
  return { next, pages, repairedPages, droppedPages: bad.length - repairedPages, damagedPages: damaged }
}

/** Whether the page is cached again. An origin that is not there is no error: whoever reads the page asks it then. */
async function refill(disk: Disk, page: number, phaseBytes: number): Promise<boolean> {
  const start = Math.max(0, page * PAGE_BYTES - phaseBytes)
  const end = Math.min(disk.sizeBytes, (page + 1) * PAGE_BYTES - phaseBytes)
  await disk.prefetch(start, end - start).catch(() => undefined)
  return disk.log !== undefined && disk.log.table.find(page) !== NOWHERE
}
