/** Writes have positive ids, zeroes and trims negative ones; this is what a sector holds after them. */
export function contentOf(id: number): number {
  return Math.max(0, id)
}

/** What a disk may answer: it knows every request that was begun, acknowledged and flushed, sector by sector. */
interface SectorState {
  /** The last acknowledged write; 0 before any. */
  acked: number
  /** What a flush covers for certain. */
  flushed: number
  /** Acknowledged since, in order. */
  sinceFlush: number[]
  /** Begun and not ended, or ended with an error: may be there or not. */
  maybe: Set<number>
}

export interface ReadInProgress {
  readonly first: number
  readonly count: number
  /** For each sector, the ids that may be answered. */
  readonly allowed: Set<number>[]
}

export class DiskModel {
  readonly #sectors = new Map<number, SectorState>()
  readonly #reads = new Set<ReadInProgress>()

  #state(sector: number): SectorState {
    let state = this.#sectors.get(sector)
    if (state === undefined)
      this.#sectors.set(sector, (state = { acked: 0, flushed: 0, sinceFlush: [], maybe: new Set() }))
    return state
  }

  get touched(): number[] {
    return [...this.#sectors.keys()]
  }

  beginWrite(first: number, count: number, id: number): void {
    for (let sector = first; sector < first + count; sector++) this.#state(sector).maybe.add(id)
    for (const read of this.#reads) this.#allow(read, first, count, id)
  }

  endWrite(first: number, count: number, id: number): void {
    for (let sector = first; sector < first + count; sector++) {
      const state = this.#state(sector)
      state.maybe.delete(id)
      // Writes that failed before are overwritten now, though the origin may still lose this one; those under way come after it.
      for (const failed of [...state.maybe]) {
        if (!this.failed.has(failed)) continue
        state.maybe.delete(failed)
        state.sinceFlush.push(failed)
      }
      state.acked = id
      state.sinceFlush.push(id)
    }
  }

  /** Ids of writes that ended with an error. */
  readonly failed = new Set<number>()

  beginFlush(): Map<number, number> {
    const covered = new Map<number, number>()
    for (const [sector, state] of this.#sectors) if (state.sinceFlush.length > 0) covered.set(sector, state.acked)
    return covered
  }

  endFlush(covered: ReadonlyMap<number, number>): void {
    for (const [sector, id] of covered) {
      const state = this.#state(sector)
      const at = state.sinceFlush.indexOf(id)
      if (at === -1) continue
      state.flushed = id
      state.sinceFlush = state.sinceFlush.slice(at + 1)
    }
  }

  beginRead(first: number, count: number): ReadInProgress {
    const allowed = Array.from({ length: count }, (_, index) => {
      const state = this.#state(first + index)
      return new Set([state.acked, ...state.maybe].map(contentOf))
    })
    const read = { first, count, allowed }
    this.#reads.add(read)
    return read
  }

  #allow(read: ReadInProgress, first: number, count: number, id: number): void {
    for (
      let sector = Math.max(first, read.first);
      sector < Math.min(first + count, read.first + read.count);
      sector++
    ) {
      read.allowed[sector - read.first]!.add(contentOf(id))
    }
  }

  /** The first sector whose answer is wrong, or undefined. */
  endRead(read: ReadInProgress, ids: readonly number[]): string | undefined {
    this.#reads.delete(read)
    const wrong = ids.findIndex((id, index) => !read.allowed[index]!.has(id))
    if (wrong === -1) return undefined
    return `sector ${read.first + wrong} reads as ${ids[wrong]}, allowed: ${[...read.allowed[wrong]!].join(', ')}`
  }

  /** After a crash: whether the sector may hold `content`; if so, that is what it holds from now on. */
  settle(sector: number, content: number, crash: 'kill' | 'power-cut'): string | undefined {
    const state = this.#state(sector)
    const allowed =
      crash === 'power-cut' ? [state.flushed, ...state.sinceFlush, ...state.maybe] : [state.acked, ...state.maybe]
    const id = allowed.find((each) => contentOf(each) === content)
    if (id === undefined) {
      return `after a ${crash} sector ${sector} holds ${content}, allowed: ${allowed.map(contentOf).join(', ')}`
    }
    if (crash === 'power-cut') {
      state.flushed = id
      state.sinceFlush = []
    } else {
      // Writes that overlapped may all have been there, one after the other; a power cut can still bring any of them back.
      state.sinceFlush.push(...state.maybe, id)
    }
    state.acked = id
    state.maybe.clear()
    return undefined
  }

  crash(): void {
    this.#reads.clear()
  }
}
