import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { sectorsBetween, sectorsOnDisk } from '../log/page-sectors.js'

/** How the bytes of a disk divide into pages: the phase is added before the division. */
export class PageSpace {
  /** Changes only while no request is under way: pages and locks are known by numbers that depend on it. */
  phaseBytes: number

  constructor(
    readonly sizeBytes: number,
    phaseSectors: number,
  ) {
    this.phaseBytes = phaseSectors * SECTOR_BYTES
  }

  firstPage(offset: number): number {
    return Math.floor((offset + this.phaseBytes) / PAGE_BYTES)
  }

  lastPage(offset: number, length: number): number {
    return Math.floor((offset + this.phaseBytes + length - 1) / PAGE_BYTES)
  }

  /** Where a page begins, as a position of the disk; the first one may begin before it. */
  startOf(page: number): number {
    return page * PAGE_BYTES - this.phaseBytes
  }

  /** Whether a range of the disk is made of whole pages. */
  isWhole(offset: number, length: number): boolean {
    return (offset + this.phaseBytes) % PAGE_BYTES === 0 && length % PAGE_BYTES === 0
  }

  /** The part of a range of the disk that lies in a page, as bytes of the page. */
  within(page: number, offset: number, length: number): [from: number, to: number] {
    const start = this.startOf(page)
    return [Math.max(0, offset - start), Math.min(PAGE_BYTES, offset + length - start)]
  }

  /** The sectors of that part. */
  sectorsWithin(page: number, offset: number, length: number): number {
    return sectorsBetween(...this.within(page, offset, length))
  }

  /** The sectors of a page that lie on the disk: all, but for the first and the last page. */
  sectorsOf(page: number): number {
    return sectorsOnDisk(page, this.sizeBytes, this.phaseBytes / SECTOR_BYTES)
  }
}
