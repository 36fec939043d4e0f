import { CopyBudget } from './copy-budget.js'
import type { ExactReplacement, LaidReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

export const clock: ReplacementModule = {
  name: 'clock',
  summary: 'clock: a page that was used since its last lap gets another one',
  exact: (capacity) => new ExactClock(capacity),
  laid: (capacityPages) => new LaidClock(capacityPages),
}

/** One bit (Corbató, "A paging experiment with the Multics system", 1968). */
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

const USED = 1

/**
 * The log is the clock's circle and its oldest chunk the hand, so this is the algorithm itself: a page that was used since
 * it was written gets another lap. It is short of the exact form by the room of dead versions; while the log is roomy
 * every page gets another lap.
 */
export class LaidClock implements LaidReplacement {
  readonly #budget: CopyBudget

  constructor(capacityPages: number) {
    this.#budget = new CopyBudget(capacityPages)
  }

  inserted(): number {
    return 0
  }

  hit(): number {
    return USED
  }

  reclaiming(livePages: number, chunkPages: number): void {
    this.#budget.reclaiming(livePages, chunkPages)
  }

  reclaimed(_page: number, heat: number): number {
    this.#budget.earn()
    if (this.#budget.scarcity === 3 || (heat !== USED && !this.#budget.roomy)) return -1
    this.#budget.spend()
    return 0
  }

  resized(capacityPages: number): void {
    this.#budget.resized(capacityPages)
  }
}
