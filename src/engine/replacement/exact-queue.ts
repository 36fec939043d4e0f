import type { ExactReplacement } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

/** Keys in one queue, in the order in which they came: an exact form says what a use changes, and which key leaves. */
export abstract class ExactQueue implements ExactReplacement {
  protected readonly slots: Slots
  protected readonly queue: SlotList

  constructor(readonly capacity: number) {
    this.slots = new Slots(capacity)
    this.queue = new SlotList(this.slots)
  }

  get size(): number {
    return this.queue.length
  }

  access(key: number): boolean {
    const slot = this.slots.find(key)
    if (slot >= 0) {
      this.used(slot)
      return true
    }
    if (this.size === this.capacity) this.drop(this.victim())
    const added = this.slots.add(key)
    this.queue.push(added)
    this.added(added)
    return false
  }

  remove(key: number): void {
    const slot = this.slots.find(key)
    if (slot >= 0) this.drop(slot)
  }

  /** A resident key was used. */
  protected abstract used(slot: number): void

  /** The slot of the key that leaves a full queue. */
  protected abstract victim(): number

  /** A key came in. */
  protected added(_slot: number): void {}

  protected drop(slot: number): void {
    this.queue.remove(slot)
    this.slots.delete(slot)
  }
}
