import { BudgetedReplacement } from './budgeted-replacement.js'
import { ExactQueue } from './exact-queue.js'
import type { ReplacementModule } from './replacement.js'

export const lru: ReplacementModule = {
  name: 'lru',
  summary: 'least recently used',
  exact: (capacity) => new ExactLru(capacity),
  laid: (capacityPages) => new LaidLru(capacityPages),
}

class ExactLru extends ExactQueue {
  protected override used(slot: number): void {
    this.queue.remove(slot)
    this.queue.push(slot)
  }

  protected override victim(): number {
    return this.queue.oldest
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
class LaidLru extends BudgetedReplacement {
  #unitPages: number
  #pages = 0
  #now = 0

  constructor(capacityPages: number) {
    super(capacityPages)
    this.#unitPages = Math.max(1, capacityPages / UNITS_PER_LAP)
  }

  override inserted(): number {
    this.#pass()
    return this.#now
  }

  override hit(): number {
    return this.#now
  }

  override resized(capacityPages: number): void {
    super.resized(capacityPages)
    this.#unitPages = Math.max(1, capacityPages / UNITS_PER_LAP)
  }

  protected override kept(heat: number, scarcity: 0 | 1 | 2): number {
    const age = (this.#now - heat) & (STAMPS - 1)
    if (age >= LONGEST_UNITS - 2 * scarcity) return -1
    this.#pass()
    return heat
  }

  #pass(): void {
    if (++this.#pages < this.#unitPages) return
    this.#pages = 0
    this.#now = (this.#now + 1) & (STAMPS - 1)
  }
}
