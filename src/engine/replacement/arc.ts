import { CopyBudget } from './copy-budget.js'
import { Ghosts } from './ghosts.js'
import type { ExactReplacement, LaidReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

export const arc: ReplacementModule = {
  name: 'arc',
  summary: 'adaptive replacement: balances recent against frequent use by what it missed',
  exact: (capacity) => new ExactArc(capacity),
  laid: (capacityPages) => new LaidArc(capacityPages),
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

/** Heat: whether the page is frequent, whether it was used in this lap, and how many laps it stayed without. */
const FREQUENT_BIT = 0x80
const USED_BIT = 0x40
const IDLE_BITS = 0x07
/** A frequent page stays at most this many laps without use. */
const MOST_IDLE_LAPS = 2
/** Of each of the two lists, so that both take less than 2 bytes for each page of capacity. */
const GHOSTS_PER_PAGE = 0.4

/**
 * The two lists on one log: a page that was used again, or that came back as a ghost, is frequent. What ARC divides
 * by moving p, the room of the two lists, is divided here by how many laps an unused frequent page stays: none where recent pages
 * are missed, two where frequent ones are. The order within a list is that of the log, not of the last use.
 */
class LaidArc implements LaidReplacement {
  readonly #recentGhosts: Ghosts
  readonly #frequentGhosts: Ghosts
  readonly #budget: CopyBudget
  #capacityPages: number
  /** Laps that an unused frequent page stays, times the capacity: each ghost that comes back moves it by one lap in so many. */
  #idlePages: number

  constructor(capacityPages: number) {
    this.#recentGhosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
    this.#frequentGhosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
    this.#budget = new CopyBudget(capacityPages)
    this.#capacityPages = capacityPages
    this.#idlePages = (MOST_IDLE_LAPS / 2) * capacityPages
  }

  inserted(page: number): number {
    if (this.#recentGhosts.take(page)) this.#idlePages = Math.max(0, this.#idlePages - MOST_IDLE_LAPS)
    else if (this.#frequentGhosts.take(page)) {
      this.#idlePages = Math.min(MOST_IDLE_LAPS * this.#capacityPages, this.#idlePages + MOST_IDLE_LAPS)
    } else return 0
    return FREQUENT_BIT
  }

  hit(heat: number): number {
    return heat | USED_BIT
  }

  reclaiming(livePages: number, chunkPages: number): void {
    this.#budget.reclaiming(livePages, chunkPages)
  }

  reclaimed(page: number, heat: number): number {
    this.#budget.earn()
    const { roomy, scarcity } = this.#budget
    const frequent = (heat & FREQUENT_BIT) !== 0
    const idle = (heat & USED_BIT) !== 0 ? 0 : (heat & IDLE_BITS) + 1
    const stays = roomy || idle === 0 || (frequent && (idle + scarcity) * this.#capacityPages <= this.#idlePages)
    if (scarcity === 3 || !stays) {
      ;(frequent ? this.#frequentGhosts : this.#recentGhosts).add(page)
      return -1
    }
    this.#budget.spend()
    return FREQUENT_BIT | Math.min(idle, IDLE_BITS)
  }

  resized(capacityPages: number): void {
    this.#recentGhosts.resized(capacityPages)
    this.#frequentGhosts.resized(capacityPages)
    this.#budget.resized(capacityPages)
    this.#idlePages = Math.round((this.#idlePages / this.#capacityPages) * capacityPages)
    this.#capacityPages = capacityPages
  }
}
