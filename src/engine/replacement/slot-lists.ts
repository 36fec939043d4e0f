import { assert } from '../../base/assert.js'

const NONE = -1

/**
 * Room for a fixed number of keys without an object for any of them: a key is in a *slot*, found through an
 * open-addressing table (linear probing, deletion by shifting back), and a slot is in one {@link SlotList}.
 */
export class Slots {
  readonly keys: Uint32Array
  /** Neighbours in the list that the slot is in; -1 at its ends. */
  readonly newer: Int32Array
  readonly older: Int32Array
  readonly #table: Int32Array
  readonly #mask: number
  /** Slots without a key, linked by `older`. */
  #free = NONE

  constructor(capacity: number) {
    this.keys = new Uint32Array(capacity)
    this.newer = new Int32Array(capacity).fill(NONE)
    this.older = new Int32Array(capacity).fill(NONE)
    for (let slot = capacity - 1; slot >= 0; slot--) this.#release(slot)
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(capacity * 2 + 2))).fill(NONE)
    this.#mask = this.#table.length - 1
  }

  /** The slot of `key`, or -1. */
  find(key: number): number {
    for (let at = this.#home(key); ; at = (at + 1) & this.#mask) {
      const slot = this.#table[at]!
      if (slot === NONE || this.keys[slot] === key) return slot
    }
  }

  /** Gives `key`, which has none, a slot. */
  add(key: number): number {
    const slot = this.#free
    assert(slot !== NONE, 'a slot is free')
    this.#free = this.older[slot]!
    this.keys[slot] = key
    let at = this.#home(key)
    while (this.#table[at] !== NONE) at = (at + 1) & this.#mask
    this.#table[at] = slot
    return slot
  }

  /** Takes the key out of its slot, which is in no list any more. */
  delete(slot: number): void {
    let gap = this.#home(this.keys[slot]!)
    while (this.#table[gap] !== slot) gap = (gap + 1) & this.#mask
    for (let at = (gap + 1) & this.#mask; this.#table[at] !== NONE; at = (at + 1) & this.#mask) {
      const home = this.#home(this.keys[this.#table[at]!]!)
      // An entry may move to the gap unless that lies before its home.
      if (((at - home) & this.#mask) < ((at - gap) & this.#mask)) continue
      this.#table[gap] = this.#table[at]!
      gap = at
    }
    this.#table[gap] = NONE
    this.#release(slot)
  }

  #release(slot: number): void {
    this.older[slot] = this.#free
    this.#free = slot
  }

  #home(key: number): number {
    const mixed = Math.imul(key ^ (key >>> 15), 0x2c1b3c6d)
    return (mixed ^ (mixed >>> 16)) & this.#mask
  }
}

/** A queue of slots, newest first; a slot is in one list at a time. */
export class SlotList {
  newest = NONE
  oldest = NONE
  length = 0

  constructor(readonly slots: Slots) {}

  push(slot: number): void {
    this.slots.older[slot] = this.newest
    this.slots.newer[slot] = NONE
    if (this.newest === NONE) this.oldest = slot
    else this.slots.newer[this.newest] = slot
    this.newest = slot
    this.length++
  }

  remove(slot: number): void {
    const newer = this.slots.newer[slot]!
    const older = this.slots.older[slot]!
    if (newer === NONE) this.newest = older
    else this.slots.older[newer] = older
    if (older === NONE) this.oldest = newer
    else this.slots.newer[older] = newer
    this.length--
  }

  /** Takes the oldest slot out; there is one. */
  shift(): number {
    const slot = this.oldest
    assert(slot !== NONE, 'the list has a slot')
    this.remove(slot)
    return slot
  }
}

/** A list to look at. */
export type SlotListView = Readonly<Pick<SlotList, 'length' | 'oldest'>>

/** Keys in several queues of slots: each key is in one of them, and its slot knows in which. Lists have numbers from 0. */
export class SlotLists {
  readonly #slots: Slots
  readonly #lists: readonly SlotList[]
  readonly #listOf: Uint8Array

  constructor(capacity: number, lists: number) {
    this.#slots = new Slots(capacity)
    this.#lists = Array.from({ length: lists }, () => new SlotList(this.#slots))
    this.#listOf = new Uint8Array(capacity)
  }

  /** Only {@link add}, {@link move} and {@link drop} change it. */
  list(list: number): SlotListView {
    return this.#lists[list]!
  }

  /** The slot of `key`, or -1. */
  find(key: number): number {
    return this.#slots.find(key)
  }

  listOf(slot: number): number {
    return this.#listOf[slot]!
  }

  /** Gives `key`, which is in none, a slot in a list; returns the slot. */
  add(key: number, list: number): number {
    const slot = this.#slots.add(key)
    this.#push(slot, list)
    return slot
  }

  /** Makes a slot the newest of a list, of its own or of another one. */
  move(slot: number, list: number): void {
    this.#lists[this.#listOf[slot]!]!.remove(slot)
    this.#push(slot, list)
  }

  /** Forgets the slot's key. */
  drop(slot: number): void {
    this.#lists[this.#listOf[slot]!]!.remove(slot)
    this.#slots.delete(slot)
  }

  #push(slot: number, list: number): void {
    this.#listOf[slot] = list
    this.#lists[list]!.push(slot)
  }
}
