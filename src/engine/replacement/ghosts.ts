const WAYS = 8
const EMPTY = 0
/** Tables are made anew only when the wanted size left [1/2, 1] of what there is room for. */
const GROWTH = 1.25

/**
 * Pages that left the cache a while ago, as fingerprints of 16 bits in sets of eight, the newest first in its set. It
 * remembers about `pagesOf(capacity)` pages; of pages that never left, one in 8,000 is taken for one that did.
 */
export class Ghosts {
  #fingerprints = new Uint16Array(0)
  #sets = 0

  /** `part`: how many ghosts for each page of capacity; each costs 2 bytes. */
  constructor(
    readonly part: number,
    capacityPages: number,
  ) {
    this.resized(capacityPages)
  }

  /** Forgets all where tables must be made anew; that is while a log grows, when nothing has left it yet. */
  resized(capacityPages: number): void {
    const sets = Math.max(1, Math.ceil((capacityPages * this.part) / WAYS))
    const room = this.#fingerprints.length / WAYS
    if (sets <= room && sets * 2 >= room) return
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
    return Math.floor((hash / 0x1_0000_0000) * this.#sets)
  }
}

function hashOf(page: number): number {
  let hash = Math.imul(page ^ (page >>> 16), 0x21f0aaad)
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97)
  return (hash ^ (hash >>> 15)) >>> 0
}

/** The low half; the high half chose the set. */
function fingerprintOf(hash: number): number {
  return hash & 0xffff || 1
}
