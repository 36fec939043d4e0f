import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

export const lru: ReplacementModule = {
  name: 'lru',
  summary: 'least recently used',
  exact: (capacity) => new ExactLru(capacity),
  laid: () => ({ inserted: () => 0, hit: () => 1, reclaimed: (_page, heat) => heat - 1, resized: () => {} }),
}

class ExactLru implements ExactReplacement {
  readonly #slots: Slots
  readonly #queue: SlotList

  constructor(readonly capacity: number) {
    this.#slots = new Slots(capacity)
    this.#queue = new SlotList(this.#slots)
  }

  get size(): number {
    return this.#queue.length
  }

  access(key: number): boolean {
    const slot = this.#slots.find(key)
    if (slot >= 0) {
      this.#queue.remove(slot)
      this.#queue.push(slot)
      return true
    }
    if (this.size === this.capacity) this.#slots.delete(this.#queue.shift())
    this.#queue.push(this.#slots.add(key))
    return false
  }

  remove(key: number): void {
    const slot = this.#slots.find(key)
    if (slot < 0) return
    this.#queue.remove(slot)
    this.#slots.delete(slot)
  }
}
