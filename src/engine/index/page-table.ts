/**
 * engine/index/: where the cached pages of one log are. The {@link PageTable} maps a page number to a location; {@link ChunkColumns}
 * hold, for each chunk, what is known of its entries. No object per page: about 18 bytes a page, the ghosts of a
 * replacement policy apart.
 */
import { assert } from '../../base/assert.js'

/** No location. */
export const NOWHERE = 0xffff_ffff

/** Reads the page number of the entry at a location; the table itself stores locations only. */
export type PageOf = (location: number) => number

const SEGMENT_BITS = 10
const SEGMENTS = 1 << SEGMENT_BITS
const INITIAL_SLOTS = 8
/** A segment grows when three quarters of its slots are taken, and shrinks below one in eight. */
const MAXIMUM_LOAD = 0.75
const MINIMUM_LOAD = 0.125

/**
 * Open addressing with linear probing and deletion by shifting back (Knuth, TAOCP vol. 3, 6.4, algorithm R), in segments that
 * grow by themselves, so that no single insertion moves more than a thousandth of the table. Keys are not stored: they
 * are read back through {@link PageOf}.
 */
export class PageTable {
  readonly #segments: (Uint32Array | undefined)[] = Array.from({ length: SEGMENTS })
  readonly #counts = new Uint32Array(SEGMENTS)
  #size = 0
  #slots = 0

  constructor(readonly pageOf: PageOf) {}

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#slots * 4 + SEGMENTS * 12
  }

  find(page: number): number {
    const hash = hashOf(page)
    const slots = this.#segments[hash >>> (32 - SEGMENT_BITS)]
    if (slots === undefined) return NOWHERE
    const mask = slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const location = slots[slot]!
      if (location === NOWHERE || this.pageOf(location) === page) return location
    }
  }

  /** Puts `page` at `location` and returns where it was. */
  set(page: number, location: number): number {
    const hash = hashOf(page)
    const segment = hash >>> (32 - SEGMENT_BITS)
    let slots = this.#segments[segment]
    if (slots === undefined) slots = this.#resize(segment, INITIAL_SLOTS)
    else if (this.#counts[segment]! + 1 > slots.length * MAXIMUM_LOAD) slots = this.#resize(segment, slots.length * 2)
    const mask = slots.length - 1
    let slot = hash & mask
    for (; slots[slot] !== NOWHERE; slot = (slot + 1) & mask) {
      const before = slots[slot]!
      if (this.pageOf(before) !== page) continue
      slots[slot] = location
      return before
    }
    slots[slot] = location
    this.#counts[segment]!++
    this.#size++
    return NOWHERE
  }

  /** Forgets `page` and returns where it was. */
  delete(page: number): number {
    const hash = hashOf(page)
    const segment = hash >>> (32 - SEGMENT_BITS)
    const slots = this.#segments[segment]
    if (slots === undefined) return NOWHERE
    const mask = slots.length - 1
    let slot = hash & mask
    let location: number
    for (; ; slot = (slot + 1) & mask) {
      location = slots[slot]!
      if (location === NOWHERE) return NOWHERE
      if (this.pageOf(location) === page) break
    }
    let hole = slot
    for (let next = (hole + 1) & mask; slots[next] !== NOWHERE; next = (next + 1) & mask) {
      const home = hashOf(this.pageOf(slots[next]!)) & mask
      // The entry may fill the hole unless its home lies cyclically in (hole, next].
      if (((next - home) & mask) < ((next - hole) & mask)) continue
      slots[hole] = slots[next]!
      hole = next
    }
    slots[hole] = NOWHERE
    this.#size--
    const count = --this.#counts[segment]!
    if (slots.length > INITIAL_SLOTS && count < slots.length * MINIMUM_LOAD) this.#resize(segment, slots.length / 2)
    return location
  }

  clear(): void {
    this.#segments.fill(undefined)
    this.#counts.fill(0)
    this.#size = 0
    this.#slots = 0
  }

  #resize(segment: number, length: number): Uint32Array {
    const before = this.#segments[segment]
    const slots = new Uint32Array(length).fill(NOWHERE)
    const mask = length - 1
    assert((length & mask) === 0, 'a segment has a power of two of slots')
    if (before !== undefined) {
      for (const location of before) {
        if (location === NOWHERE) continue
        let slot = hashOf(this.pageOf(location)) & mask
        while (slots[slot] !== NOWHERE) slot = (slot + 1) & mask
        slots[slot] = location
      }
    }
    this.#slots += length - (before?.length ?? 0)
    this.#segments[segment] = slots
    return slots
  }
}

/** A 32-bit mix (the finalizer of MurmurHash3, Appleby 2011): its top bits choose the segment, its low bits the slot. */
function hashOf(page: number): number {
  let hash = page
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
