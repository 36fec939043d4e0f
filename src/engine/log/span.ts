import { EXTENT_KIND, sectorCount } from '../../format/frame.js'
import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { NOWHERE } from '../index/page-table.js'
import type { LogChunk } from './log-chunk.js'
import type { Log } from './log.js'
import type { ReplayPosition } from './replay.js'

/** Memory of a page in a span, counted for its bound. */
const PAGE_COST_BYTES = PAGE_BYTES
/** What a range of zeroes counts. */
const ZERO_COST_BYTES = 256

interface SpanPage {
  sectorMap: number
  /** Where in the memory of the span its bytes begin. */
  readonly at: number
}

/** Zeroes or a trim of whole pages. */
export interface SpanZero {
  readonly trim: boolean
  readonly page: number
  readonly count: number
}

/** A page that cannot be read back, and where the page table had it. */
export interface BadPage {
  readonly page: number
  readonly location: number
}

/** Writes between two barriers: the last version of each sector, and the ranges that were zeroed before that. */
export class Span {
  readonly #pages = new Map<number, SpanPage>()
  readonly zeroes: SpanZero[] = []
  /** Pages whose newest version is not to be read back. */
  readonly bad: BadPage[] = []
  /** About what it takes of memory. */
  bytes = 0
  /** Behind its last frame. */
  end: ReplayPosition = { sequence: 0, offset: 0, lsn: 0 }

  #used = 0

  /** @param memory holds the pages, until the span is sent; a span that is full takes no further frame */
  constructor(
    readonly log: Log,
    readonly memory: Buffer,
  ) {}

  /** Whether there is room for a frame of so many pages, whatever they are. */
  hasRoomFor(pages: number): boolean {
    return this.#used + pages * PAGE_BYTES <= this.memory.length
  }

  /** Adds the sectors of a page that are stored back to back at `at` of `source`. */
  addData(page: number, sectorMap: number, source: Buffer, at: number): void {
    let known = this.#pages.get(page)
    if (known === undefined) {
      known = { sectorMap: 0, at: this.#used }
      this.#used += PAGE_BYTES
      this.#pages.set(page, known)
      this.bytes += PAGE_COST_BYTES
    }
    known.sectorMap |= sectorMap
    if (sectorMap === FULL_SECTOR_MAP) {
      source.copy(this.memory, known.at, at, at + PAGE_BYTES)
      return
    }
    for (let sector = 0; sector < PAGE_BYTES / SECTOR_BYTES; sector++) {
      if ((sectorMap & (1 << sector)) === 0) continue
      source.copy(this.memory, known.at + sector * SECTOR_BYTES, at, at + SECTOR_BYTES)
      at += SECTOR_BYTES
    }
  }

  /** Adds zeroes or a trim: what was written there before does not matter any more. */
  addZero(kind: number, page: number, count: number): void {
    if (count < this.#pages.size) for (let each = page; each < page + count; each++) this.#drop(each)
    else for (const each of [...this.#pages.keys()]) if (each >= page && each < page + count) this.#drop(each)
    this.zeroes.push({ trim: kind === EXTENT_KIND.trim, page, count })
    this.bytes += ZERO_COST_BYTES
  }

  /** A version of a page whose checksum is wrong: lost, unless the log goes on to replace it. */
  addBad(page: number, sectorMap: number, chunk: LogChunk, unit: number): void {
    const { log } = this
    const location = log.table.find(page)
    const ordinal = location % log.entriesPerChunk
    const isNewest =
      location !== NOWHERE &&
      Math.floor(location / log.entriesPerChunk) === chunk.slot &&
      chunk.columns.unit[ordinal] === unit &&
      chunk.columns.sectorMap[ordinal] === sectorMap
    if (isNewest) this.bad.push({ page, location })
  }

  /** Whether it changes some page of [first, last]. */
  overlaps(first: number, last: number): boolean {
    for (const { page, count } of this.zeroes) if (page <= last && first < page + count) return true
    if (last - first >= this.#pages.size) {
      for (const page of this.#pages.keys()) if (page >= first && page <= last) return true
      return false
    }
    for (let page = first; page <= last; page++) if (this.#pages.has(page)) return true
    return false
  }

  get pageCount(): number {
    return this.#pages.size
  }

  /** Sectors that it writes. */
  get sectors(): number {
    let sectors = 0
    for (const { sectorMap } of this.#pages.values()) sectors += sectorCount(sectorMap)
    return sectors
  }

  /** Its data as runs of neighbouring bytes of the page space, in ascending order, none longer than `maximumBytes`. */
  *runs(maximumBytes: number): Generator<{ readonly start: number; readonly data: Buffer }> {
    let start = 0
    let length = 0
    let pieces: Buffer[] = []
    const take = (): { start: number; data: Buffer } => {
      const run = { start, data: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, length) }
      pieces = []
      length = 0
      return run
    }
    for (const page of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const { sectorMap, at: dataAt } = this.#pages.get(page)!
      for (let sector = 0; sector < PAGE_BYTES / SECTOR_BYTES;) {
        if ((sectorMap & (1 << sector)) === 0) {
          sector++
          continue
        }
        let end = sector + 1
        while (end < PAGE_BYTES / SECTOR_BYTES && (sectorMap & (1 << end)) !== 0) end++
        const at = page * PAGE_BYTES + sector * SECTOR_BYTES
        if (length > 0 && (start + length !== at || length >= maximumBytes)) yield take()
        if (length === 0) start = at
        pieces.push(this.memory.subarray(dataAt + sector * SECTOR_BYTES, dataAt + end * SECTOR_BYTES))
        length += (end - sector) * SECTOR_BYTES
        sector = end
      }
    }
    if (length > 0) yield take()
  }

  #drop(page: number): void {
    if (this.#pages.delete(page)) this.bytes -= PAGE_COST_BYTES
  }
}
