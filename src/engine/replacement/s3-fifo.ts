import { CopyBudget } from './copy-budget.js'
import { Ghosts } from './ghosts.js'
import type { ExactReplacement, LaidReplacement, ReplacementModule } from './replacement.js'
import { SlotList, Slots } from './slot-lists.js'

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
  readonly #slots: Slots
  readonly #queues: readonly [SlotList, SlotList, SlotList]
  /** Which of the queues a slot is in, and how often it was used there. */
  readonly #queue: Uint8Array
  readonly #uses: Uint8Array
  readonly #smallCapacity: number
  readonly #ghostCapacity: number

  constructor(readonly capacity: number) {
    this.#smallCapacity = Math.max(1, Math.floor(capacity * SMALL_SHARE))
    this.#ghostCapacity = Math.floor(capacity * GHOST_SHARE)
    this.#slots = new Slots(capacity + this.#ghostCapacity + 1)
    this.#queues = [new SlotList(this.#slots), new SlotList(this.#slots), new SlotList(this.#slots)]
    this.#queue = new Uint8Array(this.#slots.keys.length)
    this.#uses = new Uint8Array(this.#slots.keys.length)
  }

  get size(): number {
    return this.#queues[SMALL].length + this.#queues[MAIN].length
  }

  access(key: number): boolean {
    let slot = this.#slots.find(key)
    if (slot >= 0 && this.#queue[slot] !== GHOST) {
      if (this.#uses[slot]! < MOST_USES) this.#uses[slot]!++
      return true
    }
    const wasGhost = slot >= 0
    if (wasGhost) this.#queues[GHOST].remove(slot)
    while (this.size >= this.capacity) this.#evict()
    if (!wasGhost) slot = this.#slots.add(key)
    this.#push(slot, wasGhost ? MAIN : SMALL, 0)
    return false
  }

  remove(key: number): void {
    const slot = this.#slots.find(key)
    if (slot < 0) return
    this.#queues[this.#queue[slot]!]!.remove(slot)
    this.#slots.delete(slot)
  }

  #evict(): void {
    const [small, main] = this.#queues
    if (small.length === 0 || main.length > this.capacity - this.#smallCapacity) this.#evictMain()
    else this.#evictSmall()
  }

  /** Evicts the first unproven page; those proven move to the main queue. */
  #evictSmall(): void {
    const small = this.#queues[SMALL]
    while (small.length > 0) {
      const slot = small.shift()
      if (this.#uses[slot]! < PROVEN) return this.#becomeGhost(slot)
      this.#push(slot, MAIN, 0)
    }
  }

  /** Evicts the first page without a use left; each lap costs one. */
  #evictMain(): void {
    const main = this.#queues[MAIN]
    let slot = main.shift()
    while (this.#uses[slot]! > 0) {
      this.#push(slot, MAIN, this.#uses[slot]! - 1)
      slot = main.shift()
    }
    this.#slots.delete(slot)
  }

  #becomeGhost(slot: number): void {
    const ghost = this.#queues[GHOST]
    if (this.#ghostCapacity === 0) return this.#slots.delete(slot)
    if (ghost.length === this.#ghostCapacity) this.#slots.delete(ghost.shift())
    this.#push(slot, GHOST, 0)
  }

  #push(slot: number, queue: number, uses: number): void {
    this.#queue[slot] = queue
    this.#uses[slot] = uses
    this.#queues[queue]!.push(slot)
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
class LaidS3Fifo implements LaidReplacement {
  readonly #ghosts: Ghosts
  readonly #budget: CopyBudget

  constructor(capacityPages: number) {
    this.#ghosts = new Ghosts(GHOSTS_PER_PAGE, capacityPages)
    this.#budget = new CopyBudget(capacityPages)
  }

  inserted(page: number): number {
    return this.#ghosts.take(page) ? PROVEN_BIT | RETURNED_LAPS : 0
  }

  hit(heat: number): number {
    return (heat & COUNT_BITS) < MOST_LAPS ? heat + 1 : heat
  }

  reclaiming(livePages: number, chunkPages: number): void {
    this.#budget.reclaiming(livePages, chunkPages)
  }

  reclaimed(page: number, heat: number): number {
    this.#budget.earn()
    const { roomy, scarcity } = this.#budget
    const count = heat & COUNT_BITS
    const needed = (heat & PROVEN_BIT ? 1 : PROVEN) - (roomy ? 1 : 0) + scarcity
    if (scarcity === 3 || count < needed) {
      this.#ghosts.add(page)
      return -1
    }
    this.#budget.spend()
    return PROVEN_BIT | Math.max(0, count - 1)
  }

  resized(capacityPages: number): void {
    this.#ghosts.resized(capacityPages)
    this.#budget.resized(capacityPages)
  }
}
