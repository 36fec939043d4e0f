/** A slot that is reclaimed earns 11 points and a copy costs 20, so a byte admitted is written 1 / (1 - 11/20) = 2.2 times at most. */
const POINTS_PER_SLOT = 11
const POINTS_PER_COPY = 20
/** Points are saved up to copies of this part of the log. */
const SAVED_PART = 0.1
/** Below this part of live pages in its oldest chunks the log is roomy. */
const ROOMY_PART = 0.6
/** Chunks of this part of the log decide whether it is roomy. */
const MEMORY_PART = 0.25

/**
 * Bounds what a policy may have written again. Where many slots are dead because guests overwrite what they wrote, copies
 * are cheap (a chunk gives back its dead slots in any case) and room is what lacks: the log goes round faster, and a
 * policy may keep what it would drop otherwise. Points are whole numbers: a fraction in a field would be allocated at each change.
 */
export class CopyBudget {
  #capacityPages = 0
  #mostPoints = 0
  #points = 0
  #pointsPerPage = POINTS_PER_SLOT
  #livePart = 1

  constructor(capacityPages: number) {
    this.resized(capacityPages)
    this.#points = this.#mostPoints
  }

  /** Many of the oldest slots are dead: keep more. */
  get roomy(): boolean {
    return this.#livePart < ROOMY_PART
  }

  /** How little is left: 0 enough, 1 and 2 only for what is hotter, 3 nothing for anything. */
  get scarcity(): 0 | 1 | 2 | 3 {
    if (this.#points < POINTS_PER_COPY) return 3
    if (this.#points * 2 >= this.#mostPoints) return 0
    return this.#points * 4 >= this.#mostPoints ? 1 : 2
  }

  resized(capacityPages: number): void {
    this.#capacityPages = capacityPages
    this.#mostPoints = POINTS_PER_COPY * Math.max(4, Math.ceil(capacityPages * SAVED_PART))
  }

  /** Before a chunk's live pages come up: the points of its slots are spread over them. */
  reclaiming(livePages: number, chunkPages: number): void {
    this.#pointsPerPage = Math.round((POINTS_PER_SLOT * chunkPages) / Math.max(livePages, 1))
    const weight = Math.min(1, chunkPages / (this.#capacityPages * MEMORY_PART))
    this.#livePart += (livePages / chunkPages - this.#livePart) * weight
  }

  /** A live page comes up. */
  earn(): void {
    this.#points = Math.min(this.#mostPoints, this.#points + this.#pointsPerPage)
  }

  /** It is copied. */
  spend(): void {
    this.#points -= POINTS_PER_COPY
  }
}
