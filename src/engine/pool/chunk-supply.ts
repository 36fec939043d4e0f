import type { ChunkPlace, Pool } from './pool.js'

/** Tells who asks for chunks whether more are to be had, and gives it one where there is one. */
export type Grant<Asker> = (asker: Asker, chunk: ChunkPlace | undefined, exhausted: boolean) => void

/** Hands the free chunks of a pool one at a time to those who ask, and tells them when there are no more, and when there are some again. */
export class ChunkSupply<Asker> {
  readonly #starved = new Set<Asker>()
  /** Those that believe that there are no more: they live on what they reclaim, and do not ask. */
  readonly #toldExhausted = new Set<Asker>()

  constructor(
    readonly pool: Pick<Pool, 'take' | 'availableChunks' | 'setAside'>,
    readonly grant: Grant<Asker>,
  ) {}

  /** Somebody waits for a chunk. */
  get isStarved(): boolean {
    return this.#starved.size > 0
  }

  /** Gives it the next chunk; where none is free it is told so, and gets one as soon as one is. */
  ask(asker: Asker): void {
    this.#starved.add(asker)
    if (!this.#give(asker)) this.#tell(asker)
  }

  /** To be called when chunks may have become free. */
  serve(): void {
    for (const asker of this.#starved) if (!this.#give(asker)) return
    this.pool.setAside()
    if (this.pool.availableChunks > 0) for (const asker of this.#toldExhausted) this.#tell(asker)
  }

  #give(asker: Asker): boolean {
    const chunk = this.pool.take()
    if (chunk === undefined) return false
    this.#starved.delete(asker)
    this.#tell(asker, chunk)
    return true
  }

  #tell(asker: Asker, chunk?: ChunkPlace): void {
    const exhausted = this.pool.availableChunks === 0
    if (exhausted) this.#toldExhausted.add(asker)
    else this.#toldExhausted.delete(asker)
    this.grant(asker, chunk, exhausted)
  }
}
