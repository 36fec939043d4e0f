import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

/**
 * Clock with one bit (Corbató 1968): a page that was used since it was written last gets another lap. The log *is* the
 * clock's circle, so the laid form is the algorithm itself; what it loses is the room of dead versions.
 */
export const clock: ReplacementModule = {
  name: 'clock',
  summary: 'clock: a page that was used since its last lap gets another one',
  exact: (capacity) => new ExactClock(capacity),
  laid: () => ({ inserted: () => 0, hit: () => 1, reclaimed: (_page, heat) => heat - 1, resized: () => {} }),
}

class ExactClock implements ExactReplacement {
  readonly #slots: Slots
  readonly #queue: SlotList
  readonly #used: Uint8Array

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
    if (slot < 0) return
    this.#queue.remove(slot)
    this.#slots.delete(slot)
  }

  #evict(): void {
    let slot = this.#queue.shift()
    while (this.#used[slot] === 1) {
      this.#used[slot] = 0
      this.#queue.push(slot)
      slot = this.#queue.shift()
    }
    this.#slots.delete(slot)
  }
}
