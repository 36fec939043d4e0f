import { BudgetedReplacement } from './budgeted-replacement.js'
import { Ghosts } from './ghosts.js'
import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotLists, type SlotListView } from './slot-lists.js'

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
  readonly #keys: SlotLists
  readonly #recent: SlotListView
  readonly #frequent: SlotListView
  readonly #recentGhosts: SlotListView
  readonly #frequentGhosts: SlotListView
  #wantedRecent = 0

  constructor(readonly capacity: number) {
    this.#keys = new SlotLists(2 * capacity, 4)
    this.#recent = this.#keys.list(RECENT)
    this.#frequent = this.#keys.list(FREQUENT)
    this.#recentGhosts = this.#keys.list(RECENT_GHOST)
    this.#frequentGhosts = this.#keys.list(FREQUENT_GHOST)
  }

  get size(): number {
    return this.#recent.length + this.#frequent.length
  }

  access(key: number): boolean {
    const keys = this.#keys
    const slot = keys.find(key)
    if (slot < 0) {
      this.#makeRoom()
      keys.add(key, RECENT)
      return false
    }
    const list = keys.listOf(slot)
    if (list >= RECENT_GHOST) {
      this.#learn(list)
      if (this.size === this.capacity) this.#replace(list === FREQUENT_GHOST)
    }
    keys.move(slot, FREQUENT)
    return list < RECENT_GHOST
  }

  remove(key: number): void {
    const slot = this.#keys.find(key)
    if (slot >= 0) this.#keys.drop(slot)
  }

  /** A ghost came back: its list should have been longer. */
  #learn(list: number): void {
    const recent = this.#recentGhosts.length
    const frequent = this.#frequentGhosts.length
    this.#wantedRecent =
      list === RECENT_GHOST
        ? Math.min(this.capacity, this.#wantedRecent + Math.max(frequent / recent, 1))
        : Math.max(0, this.#wantedRecent - Math.max(recent / frequent, 1))
  }

  /** Case IV of the paper: room for a key of which nothing is known. */
  #makeRoom(): void {
    const keys = this.#keys
    const recent = this.#recent.length
    const recentGhosts = this.#recentGhosts.length
    if (recent + recentGhosts >= this.capacity) {
      if (recent >= this.capacity) return keys.drop(this.#recent.oldest)
      keys.drop(this.#recentGhosts.oldest)
    } else if (this.size + recentGhosts + this.#frequentGhosts.length >= 2 * this.capacity) {
      keys.drop(this.#frequentGhosts.oldest)
    }
    if (this.size === this.capacity) this.#replace(false)
  }

  /** Turns the oldest of one of the two resident lists into a ghost. */
  #replace(forFrequentGhost: boolean): void {
    const keys = this.#keys
    const recent = this.#recent.length
    const fromRecent =
      recent > 0 && (recent > this.#wantedRecent || (forFrequentGhost && recent === this.#wantedRecent))
    if (fromRecent || this.#frequent.length === 0) keys.move(this.#recent.oldest, RECENT_GHOST)
    else keys.move(this.#frequent.oldest, FREQUENT_GHOST)
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
class LaidArc extends BudgetedReplacement {
  returns = 0
  readonly #recentGhosts: Ghosts
  readonly #frequentGhosts: Ghosts
  #capacityPages: number
  /** Laps that an unused frequent page stays, times the capacity: each ghost that comes back moves it by one lap in so many. */
  #idlePages: number

  constructor(capacityPages: number) {
    super(capacityPages)
    this.#recentGhosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
    this.#frequentGhosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
    this.#capacityPages = capacityPages
    this.#idlePages = (MOST_IDLE_LAPS / 2) * capacityPages
  }

  override inserted(page: number): number {
    if (this.#recentGhosts.take(page)) this.#idlePages = Math.max(0, this.#idlePages - MOST_IDLE_LAPS)
    else if (this.#frequentGhosts.take(page)) {
      this.#idlePages = Math.min(MOST_IDLE_LAPS * this.#capacityPages, this.#idlePages + MOST_IDLE_LAPS)
    } else return 0
    this.returns++
    return FREQUENT_BIT
  }

  override hit(heat: number): number {
    return heat | USED_BIT
  }

  protected override kept(heat: number, scarcity: 0 | 1 | 2): number {
    const idle = (heat & USED_BIT) !== 0 ? 0 : (heat & IDLE_BITS) + 1
    const mayIdle = (heat & FREQUENT_BIT) !== 0 && (idle + scarcity) * this.#capacityPages <= this.#idlePages
    return idle === 0 || mayIdle || this.budget.roomy ? FREQUENT_BIT | Math.min(idle, IDLE_BITS) : -1
  }

  protected override dropped(page: number, heat: number): void {
    const isFrequent = (heat & FREQUENT_BIT) !== 0
    ;(isFrequent ? this.#frequentGhosts : this.#recentGhosts).add(page)
  }

  override resized(capacityPages: number): void {
    super.resized(capacityPages)
    this.#recentGhosts.resized(capacityPages)
    this.#frequentGhosts.resized(capacityPages)
    this.#idlePages = Math.round((this.#idlePages / this.#capacityPages) * capacityPages)
    this.#capacityPages = capacityPages
  }
}
