import { LaidClock } from './laid-clock.js'
import { MarkedQueue } from './marked-queue.js'
import type { ReplacementModule } from './replacement.js'

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
class ExactSieve extends MarkedQueue {
  /** The slot that is looked at next; -1: the oldest. */
  #hand = -1

  protected override victim(): number {
    let slot = this.#hand < 0 ? this.queue.oldest : this.#hand
    while (this.marks[slot] === 1) {
      this.marks[slot] = 0
      const newer = this.slots.newer[slot]!
      slot = newer < 0 ? this.queue.oldest : newer
    }
    this.#hand = slot
    return slot
  }

  protected override drop(slot: number): void {
    if (slot === this.#hand) this.#hand = this.slots.newer[slot]!
    super.drop(slot)
  }
}
