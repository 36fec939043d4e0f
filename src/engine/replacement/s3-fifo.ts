import { BudgetedReplacement } from './budgeted-replacement.js'
import { Ghosts } from './ghosts.js'
import type { ExactReplacement, ReplacementModule } from './replacement.js'
import { SlotLists, type SlotListView } from './slot-lists.js'

export const s3Fifo: ReplacementModule = {
  name: 's3-fifo',
  summary: 'three static queues: new pages must prove themselves, proven ones circle (default)',
  exact: (capacity) => new ExactS3Fifo(capacity),
  laid: (capacityPages) => new LaidS3Fifo(capacityPages),
}

const SMALL_SHARE = 0.1
const GHOST_SHARE = 0.9
/** Hits in the small queue that prove a page. */
const PROVEN = 2
const MOST_USES = 3

/** Queue that a slot is in. */
const SMALL = 0
const MAIN = 1
const GHOST = 2

/**
 * Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023), with libCacheSim's parameters: a tenth of
 * the room for new pages, ghosts of nine tenths, two hits to be proven.
 */
class ExactS3Fifo implements ExactReplacement {
  readonly #keys: SlotLists
  readonly #small: SlotListView
  readonly #main: SlotListView
  readonly #ghosts: SlotListView
  /** How often a slot was used since it is in its queue. */
  readonly #uses: Uint8Array
  readonly #smallCapacity: number
  readonly #ghostCapacity: number

  constructor(readonly capacity: number) {
    this.#smallCapacity = Math.max(1, Math.floor(capacity * SMALL_SHARE))
    this.#ghostCapacity = Math.floor(capacity * GHOST_SHARE)
    const slots = capacity + this.#ghostCapacity + 1
    this.#keys = new SlotLists(slots, 3)
    this.#small = this.#keys.list(SMALL)
    this.#main = this.#keys.list(MAIN)
    this.#ghosts = this.#keys.list(GHOST)
    this.#uses = new Uint8Array(slots)
  }

  get size(): number {
    return this.#small.length + this.#main.length
  }

  access(key: number): boolean {
    const keys = this.#keys
    const slot = keys.find(key)
    if (slot >= 0 && keys.listOf(slot) !== GHOST) {
      if (this.#uses[slot]! < MOST_USES) this.#uses[slot]!++
      return true
    }
    // A ghost that comes back is not in the way of those that become one now.
    if (slot >= 0) keys.drop(slot)
    while (this.size >= this.capacity) this.#evict()
    this.#uses[keys.add(key, slot >= 0 ? MAIN : SMALL)] = 0
    return false
  }

  remove(key: number): void {
    const slot = this.#keys.find(key)
    if (slot >= 0) this.#keys.drop(slot)
  }

  #evict(): void {
    if (this.#small.length === 0 || this.#main.length > this.capacity - this.#smallCapacity) this.#evictMain()
    else this.#evictSmall()
  }

  /** Evicts the first unproven page; those proven move to the main queue. */
  #evictSmall(): void {
    const keys = this.#keys
    while (this.#small.length > 0) {
      const slot = this.#small.oldest
      if (this.#uses[slot]! < PROVEN) return this.#becomeGhost(slot)
      this.#uses[slot] = 0
      keys.move(slot, MAIN)
    }
  }

  /** Evicts the first page without a use left; each lap costs one. */
  #evictMain(): void {
    const keys = this.#keys
    let slot = this.#main.oldest
    while (this.#uses[slot]! > 0) {
      this.#uses[slot]!--
      keys.move(slot, MAIN)
      slot = this.#main.oldest
    }
    keys.drop(slot)
  }

  #becomeGhost(slot: number): void {
    const keys = this.#keys
    if (this.#ghostCapacity === 0) return keys.drop(slot)
    if (this.#ghosts.length === this.#ghostCapacity) keys.drop(this.#ghosts.oldest)
    keys.move(slot, GHOST)
  }
}

/** Heat: whether the page is proven, and how many laps it may stay (proven) or how often it was used (new). */
const PROVEN_BIT = 0x80
const COUNT_BITS = 0x07
const MOST_LAPS = 4
/** Laps that a page gets that came back soon after it had left. */
const RETURNED_LAPS = 3
/** Fewer than in the exact form: a page was on the log for a lap before it became one. */
const GHOSTS_PER_PAGE = 0.75

/**
 * All three queues on one log: a new page that is used twice in its first lap, or one that comes back while it is a ghost, is
 * proven; each use earns a proven page a lap more, each lap costs one. While the log is roomy one use proves, and a proven page
 * stays. New pages hold their slots for a lap rather than for a tenth of the room: that is what the one log costs.
 */
class LaidS3Fifo extends BudgetedReplacement {
  returns = 0
  readonly #ghosts: Ghosts

  constructor(capacityPages: number) {
    super(capacityPages)
    this.#ghosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
  }

  override inserted(page: number): number {
    if (!this.#ghosts.take(page)) return 0
    this.returns++
    return PROVEN_BIT | RETURNED_LAPS
  }

  override hit(heat: number): number {
    return (heat & COUNT_BITS) < MOST_LAPS ? heat + 1 : heat
  }

  protected override kept(heat: number, scarcity: 0 | 1 | 2): number {
    const count = heat & COUNT_BITS
    const needed = (heat & PROVEN_BIT ? 1 : PROVEN) - (this.budget.roomy ? 1 : 0) + scarcity
    return count < needed ? -1 : PROVEN_BIT | Math.max(0, count - 1)
  }

  protected override dropped(page: number): void {
    this.#ghosts.add(page)
  }

  override resized(capacityPages: number): void {
    super.resized(capacityPages)
    this.#ghosts.resized(capacityPages)
  }
}
