import { LaidClock } from './laid-clock.js'
import { MarkedQueue } from './marked-queue.js'
import type { ReplacementModule } from './replacement.js'

export const clock: ReplacementModule = {
  name: 'clock',
  summary: 'clock: a page that was used since its last lap gets another one',
  exact: (capacity) => new ExactClock(capacity),
  laid: (capacityPages) => new LaidClock(capacityPages),
}

/** One bit (Corbató, "A paging experiment with the Multics system", 1968). */
class ExactClock extends MarkedQueue {
  protected override victim(): number {
    while (this.marks[this.queue.oldest] === 1) {
      const slot = this.queue.shift()
      this.marks[slot] = 0
      this.queue.push(slot)
    }
    return this.queue.oldest
  }
}
