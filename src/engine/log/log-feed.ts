import type { Clock } from '../../base/clock.js'
import type { Chunk } from './chunk-source.js'
import type { StoredChunk } from './stored-chunk.js'

/** Hears of what the index of a log holds, in the order in which it changes. */
export interface LogFollower {
  /** A read finds a page in entry `ordinal` of `chunk` from now on. */
  placed(chunk: StoredChunk, ordinal: number): void
  /**
   * These pages must not be read from the log any more. Of what a reclaim drops nothing is said: it may be read until its
   * chunk is left.
   */
  forgotten(page: number, count: number): void
  /** The chunk is about to be given back: it waits for whoever counts as its reader when this returns. */
  leaving(chunk: StoredChunk): void
}

/** Where a chunk is, as one thread tells another. */
export type ChunkAddress = Pick<Chunk, 'deviceIndex' | 'index' | 'generation'>

/** Pages that were placed one after the other in one chunk. */
export interface PlacedRun {
  readonly slot: number
  readonly address: ChunkAddress
  /** Three numbers for each page: its number, its checksum, and unit * 256 + sector map. */
  readonly entries: Uint32Array
}

/** One step of an index that follows another. Order matters. */
export type IndexUpdate =
  | { readonly kind: 'placed'; readonly runs: readonly PlacedRun[] }
  | { readonly kind: 'forgotten'; readonly page: number; readonly count: number }
  | { readonly kind: 'left'; readonly slot: number }
  | { readonly kind: 'ended' }

/** Carries an update to a follower; the promise ends when it has been carried out, and nothing that it took away is read any more. */
export type SendUpdate = (update: IndexUpdate) => Promise<void>

/** How long placed pages are gathered before the followers hear of them. */
const GATHER_MILLISECONDS = 5
/** Pages that are told at once, however new they are. */
const MOST_GATHERED = 4096

/**
 * Lets indexes elsewhere follow the index of a log. They lag behind, which costs them hits and no more: a chunk is given back only when all
 * of them have let go of it, so what they hold can be read for as long as they hold it.
 */
export class LogFeed implements LogFollower {
  #runs: { readonly chunk: StoredChunk; readonly words: number[] }[] = []
  #gathered = 0
  #cancelTimer: (() => void) | undefined
  /** Ends when every update so far has been carried out. */
  #last: Promise<void> = Promise.resolve()
  #ended: Promise<void> | undefined

  constructor(
    readonly followers: readonly SendUpdate[],
    readonly clock: Clock,
  ) {}

  placed(chunk: StoredChunk, ordinal: number): void {
    if (this.#ended !== undefined) return
    let run = this.#runs.at(-1)
    if (run?.chunk !== chunk) this.#runs.push((run = { chunk, words: [] }))
    const { page, checksum, unit, sectorMap } = chunk.columns
    run.words.push(page[ordinal]!, checksum[ordinal]!, unit[ordinal]! * 256 + sectorMap[ordinal]!)
    if (++this.#gathered >= MOST_GATHERED) this.#tell()
    else this.#cancelTimer ??= this.clock.after(GATHER_MILLISECONDS, () => this.#tell())
  }

  forgotten(page: number, count: number): void {
    if (this.#ended !== undefined) return
    this.#tell()
    this.#send({ kind: 'forgotten', page, count })
  }

  leaving(chunk: StoredChunk): void {
    if (this.#ended === undefined) {
      this.#tell()
      this.#send({ kind: 'left', slot: chunk.slot })
    }
    chunk.readers++
    void (this.#ended ?? this.#last).then(() => chunk.release())
  }

  /** Ends when all that was heard so far has been carried out by every follower. */
  async settled(): Promise<void> {
    this.#tell()
    await this.#last
  }

  /** The log is gone, or about to: ends when no follower reads any of it. */
  async end(): Promise<void> {
    if (this.#ended === undefined) {
      this.#gathered = 0
      this.#runs = []
      this.#cancelTimer?.()
      this.#send({ kind: 'ended' })
      this.#ended = this.#last
    }
    await this.#ended
  }

  #tell(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    if (this.#gathered === 0) return
    const runs = this.#runs.map(({ chunk, words }): PlacedRun => {
      const { deviceIndex, index, generation } = chunk.chunk
      return { slot: chunk.slot, address: { deviceIndex, index, generation }, entries: Uint32Array.from(words) }
    })
    this.#runs = []
    this.#gathered = 0
    this.#send({ kind: 'placed', runs })
  }

  #send(update: IndexUpdate): void {
    this.#last = Promise.all([this.#last, ...this.followers.map((send) => send(update))]).then(() => undefined)
  }
}
