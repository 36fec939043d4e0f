/**
 * engine/index/: where the cached pages of one log are. The {@link PageTable} maps a page number to a location; {@link ChunkColumns}
 * hold, for each chunk, what is known of its entries. No object per page: 12 bytes in the columns and 5.3 to 8 in the table, the ghosts
 * of a replacement policy and the dead entries of overwritten pages apart.
 */
import { assert } from '../../base/assert.js'

/** No location. */
export const NOWHERE = 0xffff_ffff

/** Reads the page number of the entry at a location; the table itself stores locations only. */
export type PageOf = (location: number) => number

const SEGMENT_BITS = 10
const SEGMENTS = 1 << SEGMENT_BITS
const HOME_BITS = 32 - SEGMENT_BITS
const HOMES = 2 ** HOME_BITS
/** A segment grows when three quarters of its slots are taken: doubling would leave it too empty for 20 bytes a page. */
const MAXIMUM_LOAD = 0.75
const MINIMUM_LOAD = 0.45
const GROWTH = 1.5
const SMALLEST_SLOTS = 8
/** Sizes that segments begin with, spread over one step of growth, so that they do not all grow at the same time. */
const START_SLOTS = [8, 9, 10, 11, 12]
/** Loads of segments that are filled at once, spread for the same reason. */
const LEAST_FILL_LOAD = 0.5
const FILL_LOADS = 16
/** Locations whose bits are allocated together: a chunk of the default size has them in one or two places. */
const BLOCK_BITS = 12
const BLOCK_BYTES = 2 ** BLOCK_BITS / 8

/**
 * Open addressing with linear probing and deletion by shifting back (Knuth, TAOCP vol. 3, 6.4, algorithm R), in segments that
 * grow by themselves, so that no single insertion moves more than a thousandth of the table. Keys are not stored: they
 * are read back through {@link PageOf}.
 *
 * One bit for each location says whether it is in the table, in blocks. So pages that were placed together are found by
 * looking at the location behind the last one, which is in the processor's cache, where the hash leads somewhere else for
 * each of them.
 */
export class PageTable {
  readonly #segments: (Uint32Array | undefined)[] = Array.from({ length: SEGMENTS })
  readonly #counts = new Uint32Array(SEGMENTS)
  /** Blocks that have a bit set, and how many. */
  readonly #blocks: (Uint8Array | undefined)[] = []
  readonly #present: number[] = []
  #blockCount = 0
  #size = 0
  #slots = 0

  constructor(readonly pageOf: PageOf) {}

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#slots * 4 + SEGMENTS * 12 + this.#blockCount * BLOCK_BYTES + this.#blocks.length * 16
  }

  find(page: number): number {
    const hash = hashOf(page)
    const slots = this.#segments[hash >>> HOME_BITS]
    if (slots === undefined) return NOWHERE
    for (let slot = homeOf(hash, slots.length); ; slot = slot + 1 === slots.length ? 0 : slot + 1) {
      const location = slots[slot]!
      if (location === NOWHERE || this.pageOf(location) === page) return location
    }
  }

  /** The same, for a page that is likely to be at the location behind `location`, where the page before it is. */
  findBehind(location: number, page: number): number {
    const guess = location + 1
    if (this.#isPresent(guess) && this.pageOf(guess) === page) return guess
    return this.find(page)
  }

  /** Puts `page` at `location`, where nothing is yet, and returns where it was. */
  set(page: number, location: number): number {
    const hash = hashOf(page)
    const segment = hash >>> HOME_BITS
    let slots = this.#segments[segment]
    if (slots === undefined) slots = this.#resize(segment, START_SLOTS[segment % START_SLOTS.length]!)
    else if (this.#counts[segment]! + 1 > slots.length * MAXIMUM_LOAD)
      slots = this.#resize(segment, Math.ceil(slots.length * GROWTH))
    this.#setPresent(location)
    let slot = homeOf(hash, slots.length)
    for (; slots[slot] !== NOWHERE; slot = slot + 1 === slots.length ? 0 : slot + 1) {
      const before = slots[slot]!
      if (this.pageOf(before) !== page) continue
      slots[slot] = location
      this.#clearPresent(before)
      return before
    }
    slots[slot] = location
    this.#counts[segment]!++
    this.#size++
    return NOWHERE
  }

  /**
   * Puts the first `count` of many pages into an empty table, several times as fast as one by one; of a page that comes twice the first
   * location counts. Segment by segment, each with its keys beside it, so that all that is looked at is in the processor's cache.
   */
  fill(pages: Uint32Array, locations: Uint32Array, count: number): void {
    assert(this.#size === 0, 'a table that is filled at once is empty')
    const sorted = bySegment(pages, locations, count)
    let keys = new Uint32Array(0)
    for (let segment = 0, start = 0; segment < SEGMENTS; segment++) {
      const end = sorted.ends[segment]!
      if (end === start) continue
      const load = LEAST_FILL_LOAD + ((MAXIMUM_LOAD - LEAST_FILL_LOAD) * (segment % FILL_LOADS)) / FILL_LOADS
      const slots = this.#resize(segment, Math.max(SMALLEST_SLOTS, Math.ceil((end - start) / load)))
      const { length } = slots
      if (keys.length < length) keys = new Uint32Array(2 * length)
      let placed = 0
      for (; start < end; start++) {
        const page = sorted.pages[start]!
        let slot = homeOf(hashOf(page), length)
        while (slots[slot] !== NOWHERE && keys[slot] !== page) slot = slot + 1 === length ? 0 : slot + 1
        if (slots[slot] !== NOWHERE) continue
        slots[slot] = sorted.locations[start]!
        keys[slot] = page
        this.#setPresent(slots[slot]!)
        placed++
      }
      this.#counts[segment] = placed
      this.#size += placed
      if (length > SMALLEST_SLOTS && placed < length * MINIMUM_LOAD)
        this.#resize(segment, Math.max(SMALLEST_SLOTS, Math.ceil(placed / load)))
    }
  }

  /** Whether some page is at the location. */
  holds(location: number): boolean {
    return this.#isPresent(location)
  }

  /** Forgets `page` and returns where it was. */
  delete(page: number): number {
    const hash = hashOf(page)
    const segment = hash >>> HOME_BITS
    const slots = this.#segments[segment]
    if (slots === undefined) return NOWHERE
    const { length } = slots
    let hole = homeOf(hash, length)
    let location: number
    for (; ; hole = hole + 1 === length ? 0 : hole + 1) {
      location = slots[hole]!
      if (location === NOWHERE) return NOWHERE
      if (this.pageOf(location) === page) break
    }
    for (let next = hole; ;) {
      next = next + 1 === length ? 0 : next + 1
      const candidate = slots[next]!
      if (candidate === NOWHERE) break
      const home = homeOf(hashOf(this.pageOf(candidate)), length)
      // The entry may fill the hole unless its home lies cyclically in (hole, next].
      if (distance(home, next, length) < distance(hole, next, length)) continue
      slots[hole] = candidate
      hole = next
    }
    slots[hole] = NOWHERE
    this.#clearPresent(location)
    this.#size--
    const count = --this.#counts[segment]!
    if (length > SMALLEST_SLOTS && count < length * MINIMUM_LOAD)
      this.#resize(segment, Math.max(SMALLEST_SLOTS, Math.ceil(length / GROWTH)))
    return location
  }

  clear(): void {
    this.#segments.fill(undefined)
    this.#counts.fill(0)
    this.#blocks.length = 0
    this.#present.length = 0
    this.#blockCount = 0
    this.#size = 0
    this.#slots = 0
  }

  #isPresent(location: number): boolean {
    const block = this.#blocks[location >>> BLOCK_BITS]
    return block !== undefined && (block[(location >>> 3) % BLOCK_BYTES]! & (1 << (location & 7))) !== 0
  }

  #setPresent(location: number): void {
    const index = location >>> BLOCK_BITS
    for (let next = this.#blocks.length; next <= index; next++) this.#blocks[next] = undefined
    let block = this.#blocks[index]
    if (block === undefined) {
      block = this.#blocks[index] = new Uint8Array(BLOCK_BYTES)
      this.#present[index] = 0
      this.#blockCount++
    }
    assert(!this.#isPresent(location), 'a location holds one page at a time')
    block[(location >>> 3) % BLOCK_BYTES]! |= 1 << (location & 7)
    this.#present[index]!++
  }

  #clearPresent(location: number): void {
    const index = location >>> BLOCK_BITS
    this.#blocks[index]![(location >>> 3) % BLOCK_BYTES]! &= ~(1 << (location & 7))
    if (--this.#present[index]! > 0) return
    this.#blocks[index] = undefined
    this.#blockCount--
  }

  #resize(segment: number, length: number): Uint32Array {
    const before = this.#segments[segment]
    assert(length > this.#counts[segment]!, 'a segment has a free slot, where every search ends')
    const slots = new Uint32Array(length).fill(NOWHERE)
    if (before !== undefined) {
      for (const location of before) {
        if (location === NOWHERE) continue
        let slot = homeOf(hashOf(this.pageOf(location)), length)
        while (slots[slot] !== NOWHERE) slot = slot + 1 === length ? 0 : slot + 1
        slots[slot] = location
      }
    }
    this.#slots += length - (before?.length ?? 0)
    this.#segments[segment] = slots
    return slots
  }
}

/** The pairs in the order of their segments, and where each segment ends; within one the order stays. */
function bySegment(
  pages: Uint32Array,
  locations: Uint32Array,
  count: number,
): { pages: Uint32Array; locations: Uint32Array; ends: Uint32Array } {
  const ends = new Uint32Array(SEGMENTS + 1)
  for (let index = 0; index < count; index++) ends[(hashOf(pages[index]!) >>> HOME_BITS) + 1]!++
  for (let segment = 1; segment <= SEGMENTS; segment++) ends[segment]! += ends[segment - 1]!
  // Where each segment begins; while they are filled that becomes where each ends.
  const sorted = { pages: new Uint32Array(count), locations: new Uint32Array(count), ends }
  for (let index = 0; index < count; index++) {
    const page = pages[index]!
    const at = ends[hashOf(page) >>> HOME_BITS]!++
    sorted.pages[at] = page
    sorted.locations[at] = locations[index]!
  }
  return sorted
}

/** A 32-bit mix (the finalizer of MurmurHash3, Appleby 2011): its top bits choose the segment, the others the slot. */
function hashOf(page: number): number {
  let hash = page
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** The first slot to look at: the lower bits of the hash, scaled to a segment of any length (Lemire 2019). */
function homeOf(hash: number, length: number): number {
  return Math.floor(((hash & (HOMES - 1)) * length) / HOMES)
}

/** Slots from `from` on to `to`, cyclically. */
function distance(from: number, to: number, length: number): number {
  return to >= from ? to - from : to - from + length
}
