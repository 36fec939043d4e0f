import { ExactQueue } from './exact-queue.js'
import type { ReplacementModule } from './replacement.js'

/** First in, first out: the log as it is. Writes each page once and remembers nothing of its use. */
export const fifo: ReplacementModule = {
  name: 'fifo',
  summary: 'first in, first out: nothing is written twice, use does not count',
  exact: (capacity) => new ExactFifo(capacity),
  laid: () => ({ inserted: () => 0, hit: (heat) => heat, reclaimed: () => -1, resized: () => {} }),
}

class ExactFifo extends ExactQueue {
  protected override used(): void {}

  protected override victim(): number {
    return this.queue.oldest
  }
}
