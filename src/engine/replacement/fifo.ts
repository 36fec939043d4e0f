import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

/** First in, first out: the log as it is. Writes each page once and remembers nothing of its use. */
export const fifo: ReplacementModule = {
  name: 'fifo',
  summary: 'first in, first out: nothing is written twice, use does not count',
  exact: (capacity) => new ExactFifo(capacity),
  laid: () => ({ inserted: () => 0, hit: (heat) => heat, reclaimed: () => -1, resized: () => {} }),
}

class ExactFifo implements ExactReplacement {
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
    if (this.#slots.find(key) >= 0) return true
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
