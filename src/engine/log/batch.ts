/** The write requests that one append gathered; they get their position together and settle together. */
export class Batch {
  /** Position of the first write frame; known once the batch is appended. */
  firstLsn = 0
  /** Requests that the origin has not answered yet. */
  #unsettled = 0
  #onSettled: (() => void) | undefined
  /** Ends when every frame of the batch, and so every frame before it, has been written. */
  readonly written: Promise<void>
  #resolve!: () => void
  #reject!: (error: Error) => void

  constructor() {
    this.written = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever waits hears of a failure; nobody has to.
    this.written.catch(() => undefined)
  }

  get settled(): boolean {
    return this.#unsettled === 0
  }

  /** One more request will call {@link settle}. */
  join(): void {
    this.#unsettled++
  }

  /** The origin needs nothing more for one request of this batch. */
  settle(): void {
    if (--this.#unsettled === 0) this.#onSettled?.()
  }

  complete(onSettled: () => void): void {
    this.#onSettled = onSettled
    this.#resolve()
    if (this.settled) onSettled()
  }

  fail(error: Error): void {
    this.#reject(error)
  }
}
