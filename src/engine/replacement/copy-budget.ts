/** Part of the log that may be copies of what was there before: at 0.55 a byte admitted is written 1 / (1 - 0.55) = 2.2 times at most. */
const COPIED_PART = 0.55
/** Unused budget is kept for at most this part of the log. */
const SAVED_PART = 0.1
/** Below this part of live pages in its oldest chunks the log is roomy. */
const ROOMY_PART = 0.6
/** Chunks of this part of the log decide whether it is roomy. */
const MEMORY_PART = 0.25

/**
 * Bounds what a policy may have written again: each page slot that is reclaimed earns a part of a copy. Where many slots
 * are dead because guests overwrite what they wrote, copies are cheap (a chunk gives back its dead slots in any case)
 * and room is what lacks, so the log goes round faster and a policy may keep what it would drop otherwise.
 */
export class CopyBudget {
  #capacityPages: number
  #copies: number
  #slotsPerPage = 1
  #livePart = 1

  constructor(capacityPages: number) {
    this.#capacityPages = capacityPages
    this.#copies = capacityPages * SAVED_PART
  }

  /** Many of the oldest pages are dead: keep more. */
  get roomy(): boolean {
    return this.#livePart < ROOMY_PART
  }

  resized(capacityPages: number): void {
    this.#capacityPages = capacityPages
  }

  /** Before a chunk's live pages are asked for. */
  reclaiming(livePages: number, chunkPages: number): void {
    this.#slotsPerPage = chunkPages / Math.max(livePages, 1)
    const weight = Math.min(1, chunkPages / (this.#capacityPages * MEMORY_PART))
    this.#livePart += (livePages / chunkPages - this.#livePart) * weight
  }

  /** How much is left: 0 enough, 1 and 2 little (only what is hotter should stay), 3 nothing. */
  get scarcity(): 0 | 1 | 2 | 3 {
    const part = this.#copies / this.#most
    return part >= 0.5 ? 0 : part >= 0.25 ? 1 : this.#copies >= 1 ? 2 : 3
  }

  /** A live page comes up. */
  earn(): void {
    this.#copies = Math.min(this.#most, this.#copies + COPIED_PART * this.#slotsPerPage)
  }

  /** It is copied. */
  spend(): void {
    this.#copies--
  }

  get #most(): number {
    return Math.max(4, this.#capacityPages * SAVED_PART)
  }
}
