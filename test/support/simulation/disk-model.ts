/** Writes have positive ids, zeroes and trims negative ones; this is what a sector holds after them. */
export function contentOf(id: number): number {
  return Math.max(0, id)
}

/** When things happened to a write, by a count of all events. */
interface WriteTimes {
  readonly begun: number
  acked: number
  /** End of the first flush that had begun after it was acknowledged. */
  covered: number
}

/** What a disk may answer: it knows every request that was begun, acknowledged and flushed, sector by sector. */
interface SectorState {
  /** The last acknowledged write; 0 before any. More than one where they were under way together: either may have come last. */
  acked: number[]
  /** The same when the last flush began. */
  flushed: number[]
  /** Acknowledged since, in order. */
  sinceFlush: number[]
  /** Begun and not ended, or ended with an error: may be there or not. */
  maybe: Set<number>
  /** All that were acknowledged and not lost, in order: what an origin may hold that is behind. */
  history: number[]
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
  readonly #writes = new Map<number, WriteTimes>()
  #uncovered: number[] = []
  #events = 0

  #state(sector: number): SectorState {
    let state = this.#sectors.get(sector)
    if (state === undefined)
      this.#sectors.set(sector, (state = { acked: [0], flushed: [0], sinceFlush: [], maybe: new Set(), history: [] }))
    return state
  }

  get touched(): number[] {
    return [...this.#sectors.keys()]
  }

  beginWrite(first: number, count: number, id: number): void {
    this.#writes.set(id, { begun: ++this.#events, acked: Infinity, covered: Infinity })
    for (let sector = first; sector < first + count; sector++) this.#state(sector).maybe.add(id)
    for (const read of this.#reads) this.#allow(read, first, count, id)
  }

  /** @param durable whether the answer says that it is on stable storage */
  endWrite(first: number, count: number, id: number, durable = false): void {
    const times = this.#writes.get(id)!
    times.acked = ++this.#events
    if (durable) times.covered = times.acked
    else this.#uncovered.push(id)
    for (let sector = first; sector < first + count; sector++) {
      const state = this.#state(sector)
      state.maybe.delete(id)
      // Writes that failed before are overwritten now, though the origin may still lose this one; those under way come after it.
      for (const failed of [...state.maybe]) {
        if ((this.#failed.get(failed) ?? Infinity) > times.begun) continue
        state.maybe.delete(failed)
        state.sinceFlush.push(failed)
        state.history.push(failed)
      }
      const mayBeLater = this.#mayBeLaterThan([id])
      state.acked = [...state.acked.filter(mayBeLater), id]
      state.history.push(id)
      if (durable) {
        state.flushed = [...state.flushed.filter(mayBeLater), id]
        state.sinceFlush = state.sinceFlush.filter(mayBeLater)
      } else state.sinceFlush.push(id)
    }
  }

  /** Writes that ended with an error, and when. */
  readonly #failed = new Map<number, number>()

  /** A write ended with an error: it may be there or not. */
  failWrite(id: number): void {
    this.#failed.set(id, ++this.#events)
  }

  beginFlush(): { readonly sectors: ReadonlyMap<number, readonly number[]>; readonly writes: readonly number[] } {
    const sectors = new Map<number, readonly number[]>()
    for (const [sector, state] of this.#sectors) if (state.sinceFlush.length > 0) sectors.set(sector, state.acked)
    return { sectors, writes: [...this.#uncovered] }
  }

  endFlush({ sectors, writes }: ReturnType<DiskModel['beginFlush']>): void {
    const now = ++this.#events
    for (const id of writes) {
      const times = this.#writes.get(id)!
      times.covered = Math.min(times.covered, now)
    }
    const isCovered = new Set(writes)
    this.#uncovered = this.#uncovered.filter((id) => !isCovered.has(id))
    for (const [sector, ids] of sectors) {
      const state = this.#state(sector)
      const at = state.sinceFlush.indexOf(ids.at(-1)!)
      if (at === -1) continue
      const mayBeLater = this.#mayBeLaterThan(ids)
      state.flushed = [...state.flushed.filter((id) => !ids.includes(id) && mayBeLater(id)), ...ids]
      state.sinceFlush = state.sinceFlush.slice(at + 1)
    }
  }

  /** Of writes that were under way together any may be the last one. */
  #mayBeLaterThan(ids: readonly number[]): (other: number) => boolean {
    const begun = Math.min(...ids.map((id) => this.#writes.get(id)?.begun ?? Infinity))
    return (other) => (this.#writes.get(other)?.acked ?? 0) > begun
  }

  /** The same for one that was acknowledged later. */
  #mayBeEarlierThan(id: number): (other: number) => boolean {
    const acked = this.#writes.get(id)?.acked ?? 0
    return (other) => (this.#writes.get(other)?.begun ?? Infinity) < acked
  }

  beginRead(first: number, count: number): ReadInProgress {
    const allowed = Array.from({ length: count }, (_, index) => {
      const state = this.#state(first + index)
      return new Set([...state.acked, ...state.maybe].map(contentOf))
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

  /**
   * Whether these contents are a state in which a power cut could have left the disk: no write is there that began after a flush had covered
   * another one that is not. With `inOrder` it must be a prefix: no write is there that began after another one, which is not, was acknowledged.
   */
  ordered(
    contentOfSector: (sector: number) => number,
    inOrder: boolean,
    isExempt: (sector: number) => boolean = () => false,
  ): string | undefined {
    let earliest = Infinity
    let lost = ''
    let latest = 0
    let there = ''
    for (const [sector, { history, maybe }] of this.#sectors) {
      if (isExempt(sector)) continue
      const content = contentOfSector(sector)
      const begun = this.#writes.get(content)?.begun ?? 0
      if (begun > latest) [latest, there] = [begun, `${content} in sector ${sector}`]
      // What is under way comes behind all that was acknowledged.
      if ([...maybe].some((id) => contentOf(id) === content)) continue
      const at = history.findLastIndex((id) => contentOf(id) === content)
      const contentAcked = this.#writes.get(history[at] ?? 0)?.acked ?? 0
      for (const id of history.slice(at + 1)) {
        const times = this.#writes.get(id)!
        // It failed, or it was under way together with what is there, and may have come first.
        if (this.#failed.has(id) || times.begun < contentAcked) continue
        const known = inOrder ? times.acked : times.covered
        if (known < earliest) [earliest, lost] = [known, `${id} in sector ${sector} (it holds ${content})`]
      }
    }
    return latest > earliest ? `${there} is there, and ${lost}, which is older, is not` : undefined
  }

  /** After a crash: whether the sector may hold `content`; if so, that is what it holds from now on. */
  settle(sector: number, content: number, crash: 'kill' | 'power-cut'): string | undefined {
    const state = this.#state(sector)
    const allowed =
      crash === 'power-cut' ? [...state.flushed, ...state.sinceFlush, ...state.maybe] : [...state.acked, ...state.maybe]
    // Of several that say the same the last one: an origin that is behind may hold whatever came between them.
    const id = allowed.findLast((each) => contentOf(each) === content)
    if (id === undefined) {
      return `after a ${crash} sector ${sector} holds ${content}, allowed: ${allowed.map(contentOf).join(', ')}`
    }
    if (crash === 'power-cut') {
      state.flushed = [id]
      state.sinceFlush = []
    } else {
      // Writes that overlapped may all have been there, one after the other; a power cut can still bring any of them back.
      state.sinceFlush.push(...state.maybe, id)
    }
    // What was lost never happened. What was under way may have come before what is there.
    const at = state.history.lastIndexOf(id)
    const together = state.history.slice(at + 1).filter(this.#mayBeEarlierThan(id))
    const before = [...together, ...state.maybe].filter((other) => other !== id)
    if (at >= 0) state.history.splice(at, Infinity, ...before, id)
    else if (id !== 0) state.history.push(...before, id)
    else state.history = []
    state.acked = [id]
    state.maybe.clear()
    return undefined
  }

  /** With nothing under way: whether the sector may hold `content`. */
  isAllowed(sector: number, content: number): string | undefined {
    const { acked, maybe } = this.#state(sector)
    if ([...acked, ...maybe].some((id) => contentOf(id) === content)) return undefined
    return `sector ${sector} holds ${content}, allowed: ${[...acked, ...maybe].map(contentOf).join(', ')}`
  }

  /** Nobody knows any more what the sector holds, until it is written anew. */
  lose(sector: number): void {
    this.#sectors.set(sector, { acked: [0], flushed: [0], sinceFlush: [], maybe: new Set(), history: [] })
  }

  /** What was written last was given up: from now on the sector holds `content`, or until that is flushed anything that it ever held. */
  giveUp(sector: number, content: number): void {
    const state = this.#state(sector)
    const before = [...state.flushed, ...state.sinceFlush, ...state.history, ...state.maybe, 0]
    state.flushed = [...new Set(before)]
    state.acked = [content]
    state.sinceFlush = [content]
    state.history = content === 0 ? [] : [content]
    state.maybe.clear()
  }

  /** Whether the sector may hold `content` now, whatever is under way. */
  mayHold(sector: number, content: number): boolean {
    const { acked, maybe } = this.#state(sector)
    return acked.some((id) => contentOf(id) === content) || [...maybe].some((id) => contentOf(id) === content)
  }

  crash(): void {
    this.#reads.clear()
  }
}
