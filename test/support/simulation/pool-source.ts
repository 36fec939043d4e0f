import type { Chunk, ChunkSource } from '../../../src/engine/log/chunk-source.ts'
import type { Log } from '../../../src/engine/log/log.ts'
import type { ChunkPlace, Pool } from '../../../src/engine/pool/pool.ts'
import type { EngineModules } from './engine-modules.ts'
import type { Scheduler } from './scheduler.ts'

/** Between two looks at who should give a chunk up, as in the engine. */
const REBALANCE_MILLISECONDS = 20

/** Chunks straight from the pool of a cache, without threads in between; its disks share them as in the engine. */
export class PoolSource implements ChunkSource {
  #waiters: (() => void)[] = []
  #isRebalancing = false

  /**
   * @param logs of the disks that have one
   * @param opening how many disks are being opened
   */
  constructor(
    readonly pool: Pool,
    readonly scheduler: Scheduler,
    readonly modules: Pick<EngineModules, 'whoGives'>,
    readonly logs: () => readonly Log[],
    readonly opening: () => number,
  ) {}

  get chunkBytes(): number {
    return this.pool.chunkBytes
  }

  get cacheId(): string {
    return this.pool.cacheId
  }

  get exhausted(): boolean {
    return this.pool.availableChunks === 0
  }

  chunkAt(place: ChunkPlace): Chunk {
    return this.pool.chunkAt(place)
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const place = this.pool.take(preferredDevice)
    if (place !== undefined) return this.chunkAt(place)
    this.#rebalance()
    return undefined
  }

  give({ deviceIndex, index, generation }: Chunk): void {
    this.pool.give({ deviceIndex, index, generation })
    this.#tell()
  }

  #tell(): void {
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
    this.#rebalance()
  }

  /** Somebody wants a chunk, and there is none: another one may have more than its part. */
  #rebalance(): void {
    if (this.#isRebalancing) return
    this.#isRebalancing = true
    this.scheduler.after(REBALANCE_MILLISECONDS, () => {
      this.#isRebalancing = false
      // A log that was opened keeps no chunks from others any more.
      if (this.pool.availableChunks > 0) return this.#tell()
      const tenant = { weight: 1, minChunks: 0 }
      const holders = this.logs().map((log) => ({ ...tenant, chunks: log.chunkCount, log }))
      const opening = Array.from({ length: this.opening() }, () => tenant)
      const giver = this.modules.whoGives(holders, opening, this.pool.usableChunks)
      giver?.log.shrink(giver.chunks - 1).catch(() => undefined)
      if (this.#waiters.length > 0) this.#rebalance()
    })
  }
}
