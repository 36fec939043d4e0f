const WAYS = 8
const EMPTY = 0
/** A table that grows grows by more than it must, so that a log that grows chunk by chunk makes few. */
const GROWTH = 1.25
/** A table that is larger than it must be by more than this is made anew. */
const SLACK = 1.5

/**
 * Pages that left the cache a while ago, as fingerprints of 16 bits in sets of eight, the newest first in its set.
 * Of pages that never left, one in 8,000 is taken for one that did.
 */
export class Ghosts {
  #fingerprints = new Uint16Array(0)
  #sets = 0

  /** Remembers about `ghostsPerPage` pages for each page of capacity; each costs 2 bytes. */
  constructor(
    readonly ghostsPerPage: number,
    capacityPages: number,
  ) {
    this.resized(capacityPages)
  }

  /** Forgets all where the table must be made anew: while a log grows, when nothing has left it yet, and when it has shrunk much. */
  resized(capacityPages: number): void {
    const sets = Math.max(1, Math.ceil((capacityPages * this.ghostsPerPage) / WAYS))
    const room = this.#fingerprints.length / WAYS
    if (sets <= room && sets * SLACK >= room) return
    this.#sets = room === 0 ? sets : Math.ceil(sets * GROWTH)
    this.#fingerprints = new Uint16Array(this.#sets * WAYS)
  }

  /** Remembers a page that left; the oldest of its set is forgotten. */
  add(page: number): void {
    const hash = hashOf(page)
    const first = this.#setOf(hash) * WAYS
    const fingerprints = this.#fingerprints
    for (let way = first + WAYS - 1; way > first; way--) fingerprints[way] = fingerprints[way - 1]!
    fingerprints[first] = fingerprintOf(hash)
  }

  /** Whether the page left a while ago; forgets it. */
  take(page: number): boolean {
    const hash = hashOf(page)
    const fingerprint = fingerprintOf(hash)
    const fingerprints = this.#fingerprints
    const first = this.#setOf(hash) * WAYS
    const end = first + WAYS
    for (let way = first; way < end; way++) {
      if (fingerprints[way] !== fingerprint) continue
      for (let later = way + 1; later < end; later++) fingerprints[later - 1] = fingerprints[later]!
      fingerprints[end - 1] = EMPTY
      return true
    }
    return false
  }

  #setOf(hash: number): number {
    return Math.floor(((hash >>> 1) / 0x8000_0000) * this.#sets)
  }
}

/** Signed 32 bits: a number beyond that would be allocated. */
function hashOf(page: number): number {
  let hash = Math.imul(page ^ (page >>> 16), 0x21f0aaad)
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97)
  return hash ^ (hash >>> 15)
}

/** The low half; the high bits chose the set. */
function fingerprintOf(hash: number): number {
  return hash & 0xffff || 1
}
