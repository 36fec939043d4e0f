import { EXTENT_KIND } from '../../format/frame.js'
import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { copySectors } from '../log/log-reader.js'
import { sectorsBetween } from '../log/page-sectors.js'
import { NO_DATA, dataExtent, markExtent, type StagedExtent } from '../log/staged-extent.js'
import type { PageSpace } from './page-space.js'
import { DiskError } from './served-disk.js'
import type { StoredPages } from './stored-pages.js'

/** Requests as extents of a frame. */
export class RequestExtents {
  constructor(
    readonly space: PageSpace,
    readonly stored: StoredPages,
  ) {}

  /** Guest data: whole pages as they are, parts of pages joined with what is cached of them; a promise only where there are such. */
  data(offset: number, data: Buffer): StagedExtent[] | Promise<StagedExtent[]> {
    const { space } = this
    this.#refusePartOfBad(offset, data.length)
    if (!space.isWhole(offset, data.length)) return this.#parts(offset, data)
    return [dataExtent(space.firstPage(offset), data.length / PAGE_BYTES, FULL_SECTOR_MAP, data)]
  }

  /** All pages that a range touches, as one extent without data. */
  invalid(offset: number, length: number): StagedExtent {
    this.#refusePartOfBad(offset, length)
    const first = this.space.firstPage(offset)
    return markExtent(EXTENT_KIND.invalid, first, this.space.lastPage(offset, length) - first + 1)
  }

  /** Zeroes or a trim: the whole pages of a range, and parts of pages at its ends. */
  marks(kind: number, offset: number, length: number): StagedExtent[] {
    const { space } = this
    this.#refusePartOfBad(offset, length)
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, length)
    const extents: StagedExtent[] = []
    const add = (page: number, count: number, sectorMap: number): void => {
      if (count > 0) extents.push({ kind, page, count, sectorMap, data: NO_DATA, relocated: undefined })
    }
    const headIsPart = space.sectorsWithin(first, offset, length) !== FULL_SECTOR_MAP
    const tailIsPart = last > first && space.sectorsWithin(last, offset, length) !== FULL_SECTOR_MAP
    if (headIsPart) add(first, 1, space.sectorsWithin(first, offset, length))
    const wholeFirst = first + (headIsPart ? 1 : 0)
    add(wholeFirst, last - (tailIsPart ? 1 : 0) - wholeFirst + 1, FULL_SECTOR_MAP)
    if (tailIsPart) add(last, 1, space.sectorsWithin(last, offset, length))
    return extents
  }

  /** The same where only whole pages may be marked: parts of pages are written as zeroes. */
  async marksOfWholePages(kind: number, offset: number, length: number): Promise<StagedExtent[]> {
    const extents: StagedExtent[] = []
    for (const extent of this.marks(kind, offset, length)) {
      if (extent.sectorMap === FULL_SECTOR_MAP) extents.push(extent)
      else {
        const [from, to] = this.space.within(extent.page, offset, length)
        extents.push(await this.#joinWithCached(extent.page, from, Buffer.alloc(to - from)))
      }
    }
    return extents
  }

  /** A page that was lost is whole again only when all of it is written: DiskError EIO for a change of a part of it. */
  #refusePartOfBad(offset: number, length: number): void {
    const { space } = this
    const badPages = this.stored.currentLog()?.badPages
    if (badPages === undefined || badPages.size === 0) return
    for (const page of [space.firstPage(offset), space.lastPage(offset, length)]) {
      if (!badPages.has(page) || space.sectorsWithin(page, offset, length) === space.sectorsOf(page)) continue
      throw new DiskError(
        'EIO',
        `disk ${this.stored.name}: page ${page} was lost on the cache device before the origin had it; write all of it`,
      )
    }
  }

  async #parts(offset: number, data: Buffer): Promise<StagedExtent[]> {
    const { space } = this
    const last = space.lastPage(offset, data.length)
    const extents: StagedExtent[] = []
    for (let page = space.firstPage(offset); page <= last;) {
      const [from, to] = space.within(page, offset, data.length)
      const start = space.startOf(page)
      if (to - from < PAGE_BYTES) {
        extents.push(await this.#joinWithCached(page, from, data.subarray(start + from - offset, start + to - offset)))
        page++
        continue
      }
      const whole = Math.floor((offset + data.length - start) / PAGE_BYTES)
      const pages = data.subarray(start - offset, start - offset + whole * PAGE_BYTES)
      extents.push(dataExtent(page, whole, FULL_SECTOR_MAP, pages))
      page += whole
    }
    return extents
  }

  /** Part of a page, joined with what is cached of the rest: a page has one location. */
  async #joinWithCached(page: number, from: number, part: Buffer): Promise<StagedExtent> {
    const map = sectorsBetween(from, from + part.length)
    const stored = await this.stored.read(page)
    if (stored === undefined || (stored.sectorMap & ~map) === 0) return dataExtent(page, 1, map, part)
    const joined = stored.sectorMap | map
    const pieces: Buffer[] = []
    for (let sector = 0; sector < PAGE_BYTES / SECTOR_BYTES; sector++) {
      const bit = 1 << sector
      const start = sector * SECTOR_BYTES
      if ((map & bit) !== 0) pieces.push(part.subarray(start - from, start - from + SECTOR_BYTES))
      else if ((stored.sectorMap & bit) !== 0) {
        const piece = Buffer.allocUnsafe(SECTOR_BYTES)
        copySectors(stored.data, stored.sectorMap, start, start + SECTOR_BYTES, piece, 0)
        pieces.push(piece)
      }
    }
    return dataExtent(page, 1, joined, Buffer.concat(pieces))
  }
}
