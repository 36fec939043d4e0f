import { assert } from '../../base/assert.js'

/** Requests go in and come out again; while the gate is shut those that come wait, and whoever shut it has the disk for itself. */
export class Gate {
  #inside = 0
  #opened: Promise<void> | undefined
  #open: (() => void) | undefined
  #onEmpty: (() => void) | undefined

  /** Whether the gate is open; if so, the request is inside. */
  tryEnter(): boolean {
    if (this.#opened !== undefined) return false
    this.#inside++
    return true
  }

  /** Undefined where the gate is open, and the request is inside; else ends when it is. */
  enter(): Promise<void> | undefined {
    if (this.#opened !== undefined) return this.#opened.then(() => this.enter())
    this.#inside++
    return undefined
  }

  leave(): void {
    assert(this.#inside > 0, 'who leaves has entered')
    if (--this.#inside === 0) this.#onEmpty?.()
  }

  /** Lets nobody in from now on, after whoever has shut it before; ends when nobody is inside any more. */
  async shut(): Promise<void> {
    while (this.#opened !== undefined) await this.#opened
    this.#opened = new Promise((resolve) => (this.#open = resolve))
    if (this.#inside > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve))
    this.#onEmpty = undefined
  }

  open(): void {
    this.#opened = undefined
    this.#open?.()
  }
}
