import type { Chunk, ChunkSource } from '../log/chunk-source.js'
import type { ChunkPlace, FoundChunkPlace, Pool } from './pool.js'

/** How long a log that waits for a chunk waits before it looks again whether there are any at all. */
const LOOK_MILLISECONDS = 10

/** The pool as the source of one log, which is worked on where the pool is; it knows what the log holds. */
export class PoolChunks implements ChunkSource {
  readonly #held = new Map<string, Chunk>()
  #waiters: (() => void)[] = []

  constructor(
    readonly pool: Pool,
    found: readonly FoundChunkPlace[],
  ) {
    for (const place of found) this.#hold(pool.chunkAt(place))
  }

  get cacheId(): string {
    return this.pool.cacheId
  }
  get chunkBytes(): number {
    return this.pool.chunkBytes
  }
  get exhausted(): boolean {
    return this.pool.availableChunks === 0
  }

  /** Those that the log holds now. */
  get chunks(): Chunk[] {
    return [...this.#held.values()]
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const place = this.pool.take(preferredDevice)
    return place === undefined ? undefined : this.#hold(this.pool.chunkAt(place))
  }

  give(chunk: Chunk): void {
    const { deviceIndex, index, generation } = chunk
    this.#held.delete(keyOf(chunk))
    this.pool.give({ deviceIndex, index, generation })
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
    setTimeout(() => {
      for (const waiter of this.#waiters.splice(0)) waiter()
    }, LOOK_MILLISECONDS)
  }

  #hold(chunk: Chunk): Chunk {
    this.#held.set(keyOf(chunk), chunk)
    return chunk
  }
}

function keyOf({ deviceIndex, index }: ChunkPlace): string {
  return `${deviceIndex}:${index}`
}
