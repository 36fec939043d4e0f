import type { Chunk } from './chunk-source.js'

/**
 * Chunks that a log in write-back keeps back, so that it can be drained and opened again however full it is: one for frames that say what is
 * settled, one for the next session, and one more before dirty pages that the origin refuses take the room of the first.
 */
export const RESERVE_CHUNKS = 3
/** The next session has its chunk, and the frames of settling another one, while so many are left. */
const BESIDE_REFUSED = 2

/** What one log keeps back. */
export class ChunkReserve {
  readonly #chunks: Chunk[] = []

  get count(): number {
    return this.#chunks.length
  }

  get isWhole(): boolean {
    return this.#chunks.length === RESERVE_CHUNKS
  }

  /** Whether pages that the origin refuses may go into the chunk that was taken for what is settled. */
  get sparesRefused(): boolean {
    return this.#chunks.length >= BESIDE_REFUSED
  }

  /** Takes what is missing from `source`, as far as that has any; returns whether the reserve is whole. */
  fill(source: () => Chunk | undefined): boolean {
    while (!this.isWhole) {
      const chunk = source()
      if (chunk === undefined) return false
      this.#chunks.push(chunk)
    }
    return true
  }

  add(chunk: Chunk): void {
    this.#chunks.push(chunk)
  }

  take(): Chunk | undefined {
    return this.#chunks.pop()
  }

  countOn(deviceIndex: number): number {
    return this.#chunks.filter((chunk) => chunk.deviceIndex === deviceIndex).length
  }

  /** Takes others in place of the chunks on a device, as far as `source` has any; returns those that it keeps back no more. */
  leave(deviceIndex: number, source: () => Chunk | undefined): readonly Chunk[] {
    const left: Chunk[] = []
    for (const [index, chunk] of this.#chunks.entries()) {
      if (chunk.deviceIndex !== deviceIndex) continue
      const other = source()
      if (other === undefined) break
      this.#chunks[index] = other
      left.push(chunk)
    }
    return left
  }

  /** All of it, which is no reserve any more. */
  empty(): readonly Chunk[] {
    return this.#chunks.splice(0)
  }
}
