import { CopyBudget } from './copy-budget.js'
import type { ExactReplacement, LaidReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

export const lru: ReplacementModule = {
  name: 'lru',
  summary: 'least recently used',
  exact: (capacity) => new ExactLru(capacity),
  laid: (capacityPages) => new LaidLru(capacityPages),
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

/** Units of time in a lap of a log without copies, and what a stamp can tell apart before it wraps. */
const UNITS_PER_LAP = 16
const STAMPS = 256
/** Pages used that long ago are dropped. */
const LONGEST_UNITS = 13

/**
 * Heat is a stamp of the last use, in sixteenths of a lap: time goes on by a page with each page that is inserted or stays. A page stays if
 * it was used less than {@link LONGEST_UNITS} ago. A stamp is told right for sixteen laps; later, a page that lay unused all that
 * time may look fresh once.
 */
class LaidLru implements LaidReplacement {
  readonly #budget: CopyBudget
  #unitPages: number
  #pages = 0
  #now = 0

  constructor(capacityPages: number) {
    this.#budget = new CopyBudget(capacityPages)
    this.#unitPages = Math.max(1, capacityPages / UNITS_PER_LAP)
  }

  inserted(): number {
    this.#pass()
    return this.#now
  }

  hit(): number {
    return this.#now
  }

  reclaiming(livePages: number, chunkPages: number): void {
    this.#budget.reclaiming(livePages, chunkPages)
  }

  reclaimed(_page: number, heat: number): number {
    this.#budget.earn()
    const { scarcity } = this.#budget
    const age = (this.#now - heat) & (STAMPS - 1)
    if (scarcity === 3 || age >= LONGEST_UNITS - 2 * scarcity) return -1
    this.#budget.spend()
    this.#pass()
    return heat
  }

  resized(capacityPages: number): void {
    this.#budget.resized(capacityPages)
    this.#unitPages = Math.max(1, capacityPages / UNITS_PER_LAP)
  }

  #pass(): void {
    if (++this.#pages < this.#unitPages) return
    this.#pages = 0
    this.#now = (this.#now + 1) & (STAMPS - 1)
  }
}
