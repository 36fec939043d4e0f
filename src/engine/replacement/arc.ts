import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

export const arc: ReplacementModule = {
  name: 'arc',
  summary: 'adaptive replacement: balances recent against frequent use by what it missed',
  exact: (capacity) => new ExactArc(capacity),
  laid: () => ({ inserted: () => 0, hit: () => 1, reclaimed: (_page, heat) => heat - 1, resized: () => {} }),
}

/** List that a slot is in. */
const RECENT = 0
const FREQUENT = 1
const RECENT_GHOST = 2
const FREQUENT_GHOST = 3

/**
 * Megiddo and Modha, "ARC: a self-tuning, low overhead replacement cache" (FAST 2003), figure 4. T1, T2, B1 and B2 of the
 * paper are the lists recent, frequent and their ghosts; p, the wanted length of T1, is a real number as in the paper.
 */
class ExactArc implements ExactReplacement {
  readonly #slots: Slots
  readonly #lists: readonly [SlotList, SlotList, SlotList, SlotList]
  /** Which of the lists a slot is in. */
  readonly #list: Uint8Array
  #wantedRecent = 0

  constructor(readonly capacity: number) {
    this.#slots = new Slots(2 * capacity)
    const list = (): SlotList => new SlotList(this.#slots)
    this.#lists = [list(), list(), list(), list()]
    this.#list = new Uint8Array(2 * capacity)
  }

  get size(): number {
    return this.#lists[RECENT].length + this.#lists[FREQUENT].length
  }

  access(key: number): boolean {
    const slot = this.#slots.find(key)
    if (slot < 0) {
      this.#makeRoom()
      this.#push(this.#slots.add(key), RECENT)
      return false
    }
    const list = this.#list[slot]!
    if (list >= RECENT_GHOST) {
      this.#learn(list)
      if (this.size === this.capacity) this.#replace(list === FREQUENT_GHOST)
    }
    this.#lists[list]!.remove(slot)
    this.#push(slot, FREQUENT)
    return list < RECENT_GHOST
  }

  remove(key: number): void {
    const slot = this.#slots.find(key)
    if (slot >= 0) this.#drop(slot)
  }

  /** A ghost came back: its list should have been longer. */
  #learn(list: number): void {
    const recent = this.#lists[RECENT_GHOST].length
    const frequent = this.#lists[FREQUENT_GHOST].length
    this.#wantedRecent =
      list === RECENT_GHOST
        ? Math.min(this.capacity, this.#wantedRecent + Math.max(frequent / recent, 1))
        : Math.max(0, this.#wantedRecent - Math.max(recent / frequent, 1))
  }

  /** Case IV of the paper: room for a key of which nothing is known. */
  #makeRoom(): void {
    const [recent, , recentGhost, frequentGhost] = this.#lists
    const recentAll = recent.length + recentGhost.length
    if (recentAll >= this.capacity) {
      if (recent.length >= this.capacity) return this.#drop(recent.oldest)
      this.#drop(recentGhost.oldest)
    } else if (this.size + recentGhost.length + frequentGhost.length >= 2 * this.capacity) {
      this.#drop(frequentGhost.oldest)
    }
    if (this.size === this.capacity) this.#replace(false)
  }

  /** Turns the oldest of one of the two resident lists into a ghost. */
  #replace(forFrequentGhost: boolean): void {
    const recent = this.#lists[RECENT].length
    const fromRecent =
      recent > 0 && (recent > this.#wantedRecent || (forFrequentGhost && recent === this.#wantedRecent))
    const from = fromRecent || this.#lists[FREQUENT].length === 0 ? RECENT : FREQUENT
    this.#push(this.#lists[from].shift(), from === RECENT ? RECENT_GHOST : FREQUENT_GHOST)
  }

  #push(slot: number, list: number): void {
    this.#list[slot] = list
    this.#lists[list]!.push(slot)
  }

  #drop(slot: number): void {
    this.#lists[this.#list[slot]!]!.remove(slot)
    this.#slots.delete(slot)
  }
}
