import { checksumJoiner, checksumOf } from '../../base/checksum.js'
import { sectorCount } from '../../format/frame.js'
import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { NOWHERE, type PageTable } from '../index/page-table.js'
import type { LaidReplacement } from '../replacement/replacement.js'
import type { LogCounters } from './log.js'
import { sectorsBetween } from './page-sectors.js'
import type { StoredChunk } from './stored-chunk.js'

/** Pages of the longest read that the hit path serves at once (32 MiB and one page for its misaligned ends). */
const MAXIMUM_PAGES = 8193

/** What can be read: a log, or another thread's index of it. */
export interface ReadableLog {
  readonly table: PageTable
  /** Chunks by slot; a location is slot * entriesPerChunk + ordinal. */
  readonly slots: readonly (StoredChunk | undefined)[]
  readonly entriesPerChunk: number
  readonly replacement: Pick<LaidReplacement, 'hit'>
  /** Drops pages from the index. */
  forgetRange(page: number, count: number): void
  /** Whether the origin lacks the entry at a location. */
  isDirty(location: number): boolean
  /** Drops a page that is bad from the index. */
  forgetBad(page: number): void
}

const joinedChecksum = checksumJoiner(PAGE_BYTES)
const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES

/**
 * Reads cached data without waiting and without allocating per request. One for all disks of a thread.
 *
 * What is asked for is found first, all of it, as *runs*: whole pages that lie back to back in one chunk, which are read and
 * verified at once where they are wanted; or one page of which only some sectors are stored or wanted.
 */
export class LogReader {
  /** Location of the first page of each run, and how many pages it has. */
  readonly #locations = new Uint32Array(MAXIMUM_PAGES)
  readonly #pages = new Uint32Array(MAXIMUM_PAGES)
  readonly #page = Buffer.alloc(PAGE_BYTES)

  /**
   * Copies [start, start + length) of the log's pages to `target` at `at` where all of it is cached and the device has it at
   * hand; else returns false. A page that does not have its checksum is forgotten, so that it is read from the origin again.
   * @param start bytes in the page space of the log, a multiple of 512 like `length`
   */
  tryRead(log: ReadableLog, counters: LogCounters, start: number, length: number, target: Buffer, at: number): boolean {
    const first = Math.floor(start / PAGE_BYTES)
    const head = start - first * PAGE_BYTES
    const runs = this.#findRuns(log, first, head, head + length)
    let page = first
    let targetAt = at
    for (let run = 0; run < runs; run++) {
      const location = this.#locations[run]!
      const pages = this.#pages[run]!
      const chunk = log.slots[(location / log.entriesPerChunk) | 0]!
      const ordinal = location % log.entriesPerChunk
      const from = page === first ? head : 0
      const to = Math.min(pages * PAGE_BYTES, head + length - (page - first) * PAGE_BYTES)
      const isRead =
        to - from === pages * PAGE_BYTES
          ? readWhole(log, counters, chunk, ordinal, pages, page, target, targetAt)
          : this.#readPart(log, counters, chunk, ordinal, page, from, to, target, targetAt)
      if (!isRead) return false
      targetAt += to - from
      page += pages
    }
    for (let run = 0; run < runs; run++) touch(log, this.#locations[run]!, this.#pages[run]!)
    return runs > 0
  }

  /** Where the bytes [head, end) from page `first` on are; returns the number of runs, 0 where not all of it is cached. */
  #findRuns(log: ReadableLog, first: number, head: number, end: number): number {
    const count = Math.ceil(end / PAGE_BYTES)
    if (count > MAXIMUM_PAGES) return 0
    const { table, slots, entriesPerChunk } = log
    let runs = 0
    let location = NOWHERE
    /** Location and unit at which the next page goes on with the last run. */
    let nextLocation = NOWHERE
    let nextUnit = 0
    for (let index = 0; index < count; index++) {
      location = index === 0 ? table.find(first) : table.findBehind(location, first + index)
      if (location === NOWHERE) return 0
      const { sectorMap, unit } = slots[(location / entriesPerChunk) | 0]!.columns
      const ordinal = location % entriesPerChunk
      const stored = sectorMap[ordinal]!
      const from = index === 0 ? head : 0
      const to = Math.min(PAGE_BYTES, end - index * PAGE_BYTES)
      const isWhole = to - from === PAGE_BYTES && stored === FULL_SECTOR_MAP
      if (isWhole && location === nextLocation && ordinal !== 0 && unit[ordinal] === nextUnit) this.#pages[runs - 1]!++
      else {
        const wanted = sectorsBetween(from, to)
        if ((stored & wanted) !== wanted) return 0
        this.#locations[runs] = location
        this.#pages[runs++] = 1
      }
      nextLocation = isWhole ? location + 1 : NOWHERE
      nextUnit = unit[ordinal]! + SECTORS_PER_PAGE
    }
    return runs
  }

  /** Copies the bytes [from, to) of one page. */
  #readPart(
    log: ReadableLog,
    counters: LogCounters,
    chunk: StoredChunk,
    ordinal: number,
    page: number,
    from: number,
    to: number,
    target: Buffer,
    at: number,
  ): boolean {
    const { columns } = chunk
    const sectorMap = columns.sectorMap[ordinal]!
    const length = sectorCount(sectorMap) * SECTOR_BYTES
    const offset = chunk.chunk.offset + columns.unit[ordinal]! * SECTOR_BYTES
    if (!chunk.chunk.device.tryRead(offset, this.#page, 0, length)) return false
    counters.deviceReadBytes += length
    if (checksumOf(this.#page, 0, length) !== columns.checksum[ordinal]) {
      noteBad(log, counters, page)
      return false
    }
    copySectors(this.#page, sectorMap, from, to, target, at)
    return true
  }
}

/** Reads whole pages, from `ordinal` of a chunk on, that lie back to back. */
function readWhole(
  log: ReadableLog,
  counters: LogCounters,
  chunk: StoredChunk,
  ordinal: number,
  pages: number,
  firstPage: number,
  target: Buffer,
  at: number,
): boolean {
  const { checksum, unit } = chunk.columns
  const length = pages * PAGE_BYTES
  const offset = chunk.chunk.offset + unit[ordinal]! * SECTOR_BYTES
  if (!chunk.chunk.device.tryRead(offset, target, at, length)) return false
  counters.deviceReadBytes += length
  if (checksumOf(target, at, at + length) === joinedChecksum(checksum, ordinal, pages)) return true
  for (let index = 0; index < pages; index++) {
    const pageAt = at + index * PAGE_BYTES
    if (checksumOf(target, pageAt, pageAt + PAGE_BYTES) !== checksum[ordinal + index])
      noteBad(log, counters, firstPage + index)
  }
  return false
}

/** A clean page that is bad is forgotten; a dirty one stays what it is, an error to whoever reads it. */
function noteBad(log: ReadableLog, counters: LogCounters, page: number): void {
  counters.badPages++
  if (!log.isDirty(log.table.find(page))) log.forgetBad(page)
}

/** Tells the replacement policy that the pages of a run were read. */
function touch({ replacement, slots, entriesPerChunk }: ReadableLog, location: number, pages: number): void {
  const { heat } = slots[(location / entriesPerChunk) | 0]!.columns
  const ordinal = location % entriesPerChunk
  for (let at = ordinal; at < ordinal + pages; at++) heat[at] = replacement.hit(heat[at]!)
}

/**
 * Copies the bytes [from, to) of a page, of which the sectors of `sectorMap` are stored back to back in `stored`, to `target`. The range
 * is made of whole sectors that are all stored.
 */
export function copySectors(
  stored: Buffer,
  sectorMap: number,
  from: number,
  to: number,
  target: Buffer,
  at: number,
): void {
  const skipped = sectorCount(sectorMap & ((1 << (from / SECTOR_BYTES)) - 1)) * SECTOR_BYTES
  stored.copy(target, at, skipped, skipped + to - from)
}
