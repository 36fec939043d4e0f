import { checksumOf } from '../../base/checksum.js'
import { sectorCount } from '../../format/frame.js'
import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { NOWHERE, type PageTable } from '../index/page-table.js'
import type { LaidReplacement } from '../replacement/replacement.js'
import type { LogCounters } from './log.js'
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
}

/** Sectors of a page that the byte range [from, to) of it touches. */
export function sectorsBetween(from: number, to: number): number {
  return ((1 << Math.ceil(to / SECTOR_BYTES)) - 1) & ~((1 << Math.floor(from / SECTOR_BYTES)) - 1)
}

/** Reads cached data without waiting and without allocating per request. One for all disks of a thread. */
export class LogReader {
  readonly #locations = new Uint32Array(MAXIMUM_PAGES)
  readonly #page = Buffer.alloc(PAGE_BYTES)

  /**
   * Copies [start, start + length) of the log's pages to `target` at `at` where all of it is cached and the device has it at
   * hand; else returns false. A page that does not have its checksum is forgotten, so that it is read from the origin again.
   * @param start bytes in the page space of the log, a multiple of 512 like `length`
   */
  tryRead(log: ReadableLog, counters: LogCounters, start: number, length: number, target: Buffer, at: number): boolean {
    const first = Math.floor(start / PAGE_BYTES)
    const head = start - first * PAGE_BYTES
    const count = Math.ceil((head + length) / PAGE_BYTES)
    if (count > MAXIMUM_PAGES) return false
    const { table, slots, entriesPerChunk } = log
    const locations = this.#locations
    for (let index = 0; index < count; index++) {
      const location = table.find(first + index)
      if (location === NOWHERE) return false
      const from = index === 0 ? head : 0
      const to = index === count - 1 ? head + length - index * PAGE_BYTES : PAGE_BYTES
      const { sectorMap } = slots[(location / entriesPerChunk) | 0]!.columns
      const wanted = to - from === PAGE_BYTES ? FULL_SECTOR_MAP : sectorsBetween(from, to)
      if ((sectorMap[location % entriesPerChunk]! & wanted) !== wanted) return false
      locations[index] = location
    }
    let targetAt = at
    for (let index = 0; index < count;) {
      const from = index === 0 ? head : 0
      const to = Math.min(PAGE_BYTES, head + length - index * PAGE_BYTES)
      const chunk = slots[(locations[index]! / entriesPerChunk) | 0]!
      const run = from === 0 && to === PAGE_BYTES ? this.#wholePages(log, chunk, index, count, head + length) : 0
      if (run > 1) {
        if (!this.#readRun(log, counters, chunk, index, run, first, target, targetAt)) return false
        targetAt += run * PAGE_BYTES
        index += run
        continue
      }
      if (!this.#readOne(log, counters, chunk, locations[index]! % entriesPerChunk, first + index)) return false
      copySectors(this.#page, chunk.columns.sectorMap[locations[index]! % entriesPerChunk]!, from, to, target, targetAt)
      targetAt += to - from
      index++
    }
    const { replacement } = log
    for (let index = 0; index < count; index++) {
      const { heat } = slots[(locations[index]! / entriesPerChunk) | 0]!.columns
      const ordinal = locations[index]! % entriesPerChunk
      heat[ordinal] = replacement.hit(heat[ordinal]!)
    }
    return true
  }

  /** How many pages from `index` on are whole and lie back to back in one chunk. */
  #wholePages(log: ReadableLog, chunk: StoredChunk, index: number, count: number, end: number): number {
    const { entriesPerChunk } = log
    const { unit, sectorMap } = chunk.columns
    const firstUnit = unit[this.#locations[index]! % entriesPerChunk]!
    let run = 0
    while (index + run < count && (index + run + 1) * PAGE_BYTES <= end) {
      const location = this.#locations[index + run]!
      const ordinal = location % entriesPerChunk
      if (((location / entriesPerChunk) | 0) !== chunk.slot || sectorMap[ordinal] !== FULL_SECTOR_MAP) break
      if (unit[ordinal] !== firstUnit + run * (PAGE_BYTES / SECTOR_BYTES)) break
      run++
    }
    return run
  }

  #readRun(
    log: ReadableLog,
    counters: LogCounters,
    chunk: StoredChunk,
    index: number,
    run: number,
    firstPage: number,
    target: Buffer,
    at: number,
  ): boolean {
    const { columns } = chunk
    const firstOrdinal = this.#locations[index]! % log.entriesPerChunk
    const offset = chunk.chunk.offset + columns.unit[firstOrdinal]! * SECTOR_BYTES
    if (!chunk.chunk.device.tryRead(offset, target, at, run * PAGE_BYTES)) return false
    counters.deviceReadBytes += run * PAGE_BYTES
    for (let page = 0; page < run; page++) {
      const ordinal = this.#locations[index + page]! % log.entriesPerChunk
      const pageAt = at + page * PAGE_BYTES
      if (checksumOf(target, pageAt, pageAt + PAGE_BYTES) === columns.checksum[ordinal]) continue
      counters.badPages++
      log.forgetRange(firstPage + index + page, 1)
      return false
    }
    return true
  }

  #readOne(log: ReadableLog, counters: LogCounters, chunk: StoredChunk, ordinal: number, page: number): boolean {
    const { columns } = chunk
    const length = sectorCount(columns.sectorMap[ordinal]!) * SECTOR_BYTES
    const offset = chunk.chunk.offset + columns.unit[ordinal]! * SECTOR_BYTES
    if (!chunk.chunk.device.tryRead(offset, this.#page, 0, length)) return false
    counters.deviceReadBytes += length
    if (checksumOf(this.#page, 0, length) === columns.checksum[ordinal]) return true
    counters.badPages++
    log.forgetRange(page, 1)
    return false
  }
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
