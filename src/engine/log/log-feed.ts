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

/** Pages that were placed one after the other in one chunk, in the order in which they lie there: of a page the last one counts. */
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
  #runs: { readonly chunk: StoredChunk; readonly ordinals: number[] }[] = []
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
    if (run?.chunk !== chunk) this.#runs.push((run = { chunk, ordinals: [] }))
    run.ordinals.push(ordinal)
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
    const runs = this.#runs.map(({ chunk, ordinals }) => placedRun(chunk, ordinals))
    this.#runs = []
    this.#gathered = 0
    this.#send({ kind: 'placed', runs })
  }

  #send(update: IndexUpdate): void {
    this.#last = Promise.all([this.#last, ...this.followers.map((send) => send(update))]).then(() => undefined)
  }
}

function placedRun({ chunk, slot, columns }: StoredChunk, ordinals: number[]): PlacedRun {
  const { page, checksum, unit, sectorMap } = columns
  const entries = new Uint32Array(ordinals.length * 3)
  // An index that is loaded is placed backwards; what lies back to back is read at once where its entries follow each other.
  ordinals.sort((left, right) => left - right)
  ordinals.forEach((ordinal, index) => {
    entries[index * 3] = page[ordinal]!
    entries[index * 3 + 1] = checksum[ordinal]!
    entries[index * 3 + 2] = unit[ordinal]! * 256 + sectorMap[ordinal]!
  })
  const { deviceIndex, index, generation } = chunk
  return { slot, address: { deviceIndex, index, generation }, entries }
}
