import { LaidClock } from './clock.js'
import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

/**
 * In a log what stays must move, and only the oldest chunk is ever looked at: without a hand that passes over what stays, sieve
 * is clock, and its laid form is clock's.
 */
export const sieve: ReplacementModule = {
  name: 'sieve',
  summary: 'sieve: like clock, but what stays does not move',
  exact: (capacity) => new ExactSieve(capacity),
  laid: (capacityPages) => new LaidClock(capacityPages),
}

/** Zhang et al., "SIEVE is simpler than LRU" (NSDI 2024): a hand walks from old to new; what it passes keeps its place. */
class ExactSieve implements ExactReplacement {
  readonly #slots: Slots
  readonly #queue: SlotList
  readonly #used: Uint8Array
  /** The slot that is looked at next; -1: the oldest. */
  #hand = -1

  constructor(readonly capacity: number) {
    this.#slots = new Slots(capacity)
    this.#queue = new SlotList(this.#slots)
    this.#used = new Uint8Array(capacity)
  }

  get size(): number {
    return this.#queue.length
  }

  access(key: number): boolean {
    const slot = this.#slots.find(key)
    if (slot >= 0) {
      this.#used[slot] = 1
      return true
    }
    if (this.size === this.capacity) this.#evict()
    const added = this.#slots.add(key)
    this.#used[added] = 0
    this.#queue.push(added)
    return false
  }

  remove(key: number): void {
    const slot = this.#slots.find(key)
    if (slot >= 0) this.#drop(slot)
  }

  #evict(): void {
    let slot = this.#hand < 0 ? this.#queue.oldest : this.#hand
    while (this.#used[slot] === 1) {
      this.#used[slot] = 0
      const newer = this.#slots.newer[slot]!
      slot = newer < 0 ? this.#queue.oldest : newer
    }
    this.#hand = slot
    this.#drop(slot)
  }

  #drop(slot: number): void {
    if (slot === this.#hand) this.#hand = this.#slots.newer[slot]!
    this.#queue.remove(slot)
    this.#slots.delete(slot)
  }
}
