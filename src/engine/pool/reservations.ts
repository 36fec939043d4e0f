/** Chunks of a cache that are promised to somebody and not taken yet: no log gets them. Bookkeeping only; whoever promises knows what there is. */
export class Reservations {
  readonly #chunks = new Map<string, number>()
  #total = 0

  get total(): number {
    return this.#total
  }

  of(holder: string): number {
    return this.#chunks.get(holder) ?? 0
  }

  /** Promises `count` chunks to `holder`, in place of those that it was promised before. */
  set(holder: string, count: number): void {
    this.#total += count - this.of(holder)
    if (count === 0) this.#chunks.delete(holder)
    else this.#chunks.set(holder, count)
  }
}
