/** Hears that its request is in the log and everything before it too, or why it is not. */
export type Written = (error: Error | undefined) => void

/** The write requests that one append gathered; they get their position together and settle together. */
export class Batch {
  /** Position of the first write frame; known once the batch is appended. */
  firstLsn = 0
  /** Position behind its last write frame; known once it has been written. */
  endLsn = 0
  /** Requests that the origin has not answered yet. */
  #unsettled = 0
  #onSettled: (() => void) | undefined
  readonly #waiting: Written[] = []
  #ended = false
  #failure: Error | undefined

  get settled(): boolean {
    return this.#unsettled === 0
  }

  /** Calls `written` once every frame of the batch, and so every frame before it, has been written, or cannot be any more. */
  whenWritten(written: Written): void {
    if (this.#ended) written(this.#failure)
    else this.#waiting.push(written)
  }

  /** The same as a promise. */
  written(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.whenWritten((error) => {
        if (error === undefined) resolve()
        else reject(error)
      }),
    )
  }

  /** One more request will call {@link settle}. */
  join(): void {
    this.#unsettled++
  }

  /** The origin needs nothing more for one request of this batch. */
  settle(): void {
    if (--this.#unsettled === 0) this.#onSettled?.()
  }

  complete(endLsn: number, onSettled: () => void): void {
    this.endLsn = endLsn
    this.#onSettled = onSettled
    this.#end(undefined)
    if (this.settled) onSettled()
  }

  fail(error: Error): void {
    this.#end(error)
  }

  #end(error: Error | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = error
    for (const written of this.#waiting.splice(0)) written(error)
  }
}
