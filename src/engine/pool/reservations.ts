/**
 * Chunks of a cache that are promised to somebody and not taken yet. Bookkeeping only; whoever promises knows what there is.
 *
 * A promise evicts nothing. Chunks that are free when it is made, or become free while nobody waits for one, are *set aside* for it: no log gets
 * them. For the rest logs make room when it is kept; until then they go on with what they have, and what one of them gives up for another one
 * is that one's.
 */
export class Reservations {
  readonly #chunks = new Map<string, number>()
  #total = 0
  #aside = 0
  /** Room is being made: whatever becomes free is set aside. */
  isPressing = false

  get total(): number {
    return this.#total
  }

  /** Free chunks that are set aside; there may be fewer. */
  get aside(): number {
    return this.isPressing ? this.#total : Math.min(this.#aside, this.#total)
  }

  of(holder: string): number {
    return this.#chunks.get(holder) ?? 0
  }

  /** Promises `count` chunks to `holder`, in place of those that it was promised before. `free` are free now. */
  set(holder: string, count: number, free: number): void {
    this.#total += count - this.of(holder)
    if (count === 0) this.#chunks.delete(holder)
    else this.#chunks.set(holder, count)
    this.setAside(free)
  }

  /** Sets chunks aside, of `free` that nobody waits for. */
  setAside(free: number): void {
    this.#aside = Math.min(this.#total, free)
  }

  /** `holder` takes one of those that it was promised, which was free. */
  take(holder: string): void {
    const aside = Math.max(0, this.#aside - 1)
    this.set(holder, this.of(holder) - 1, aside)
  }
}
