/** Collects a known number of bytes from pieces of any size. */
export class ByteCollector {
  #bytes: Buffer = Buffer.alloc(0)
  #filled = 0

  /** Starts over for `length` bytes; the caller has checked that this is a sane number. */
  expect(length: number): void {
    this.#bytes = Buffer.allocUnsafe(length)
    this.#filled = 0
  }

  get complete(): boolean {
    return this.#filled === this.#bytes.length
  }

  /** What was collected; meaningful once complete. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** Takes what is missing from `source[start, end)` and returns where it stopped. */
  take(source: Buffer, start: number, end: number): number {
    const count = Math.min(this.#bytes.length - this.#filled, end - start)
    source.copy(this.#bytes, this.#filled, start, start + count)
    this.#filled += count
    return start + count
  }
}
