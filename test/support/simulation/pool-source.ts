import type { Chunk, ChunkSource } from '../../../src/engine/log/chunk-source.ts'
import type { ChunkPlace, Pool } from '../../../src/engine/pool/pool.ts'

/** Chunks straight from the pool of a cache, without the main thread in between. */
export class PoolSource implements ChunkSource {
  #waiters: (() => void)[] = []

  constructor(readonly pool: Pool) {}

  get chunkBytes(): number {
    return this.pool.chunkBytes
  }

  get cacheId(): string {
    return this.pool.cacheId
  }

  get exhausted(): boolean {
    return this.pool.availableChunks === 0
  }

  chunkAt({ deviceIndex, index, generation }: ChunkPlace): Chunk {
    const { device, superblock } = this.pool.devices[deviceIndex]!
    return {
      device,
      deviceIndex,
      index,
      offset: superblock.firstChunkOffset + index * superblock.chunkBytes,
      generation,
    }
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const place = this.pool.take(preferredDevice)
    return place === undefined ? undefined : this.chunkAt(place)
  }

  give({ deviceIndex, index, generation }: Chunk): void {
    this.pool.give({ deviceIndex, index, generation })
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
  }
}
