import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'

/** Sectors of a page that the byte range [from, to) of it touches. */
export function sectorsBetween(from: number, to: number): number {
  return ((1 << Math.ceil(to / SECTOR_BYTES)) - 1) & ~((1 << Math.floor(from / SECTOR_BYTES)) - 1)
}

/** The sectors of a page that lie on the disk: all, but for the first and the last page. `phase` in sectors. */
export function sectorsOnDisk(page: number, diskBytes: number, phase: number): number {
  const start = page * PAGE_BYTES - phase * SECTOR_BYTES
  return sectorsBetween(Math.max(0, -start), Math.min(PAGE_BYTES, diskBytes - start))
}
