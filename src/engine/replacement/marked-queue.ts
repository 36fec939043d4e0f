import { ExactQueue } from './exact-queue.js'

/** A queue in which a use sets a key's mark. */
export abstract class MarkedQueue extends ExactQueue {
  /** 1 for each slot whose key was used since it came in or was passed over. */
  protected readonly marks = new Uint8Array(this.capacity)

  protected override added(slot: number): void {
    this.marks[slot] = 0
  }

  protected override used(slot: number): void {
    this.marks[slot] = 1
  }
}
