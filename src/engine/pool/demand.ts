import { MINIMUM_SHARE_CHUNKS } from '../../model/geometry.js'

/** What was seen counts for half after so long. */
const HALF_LIFE_SECONDS = 60
/** A disk of which nobody wanted anything for so long needs no room. */
const IDLE_SECONDS = 600

/** What a disk has done so far. */
export interface Use {
  readonly requests: number
  /** Pages that came back soon after they had left the cache; undefined where that is not known. */
  readonly returns: number | undefined
  readonly chunks: number
}

/** What more room would bring a disk, as its last minutes say. */
export class Demand {
  /** Hits a second for one more chunk; undefined until something is known. */
  gain: number | undefined
  #last: Use | undefined
  #lastAt = 0
  #usedAt: number

  /** @param now monotonic milliseconds, as in all of it */
  constructor(now: number) {
    this.#usedAt = now
  }

  /**
   * To be called from time to time. A page that came back would have been a hit with more room, up to about as much again as there is; so what
   * came back is spread over that.
   */
  note(use: Use, now: number): void {
    const last = this.#last
    const seconds = (now - this.#lastAt) / 1000
    this.#last = use
    this.#lastAt = now
    if (last === undefined) return
    if (use.requests !== last.requests) this.#usedAt = now
    // Counted from 0 again with another replacement.
    if (use.returns === undefined || last.returns === undefined || use.returns < last.returns) {
      this.gain = undefined
      return
    }
    const gain = (use.returns - last.returns) / seconds / Math.max(use.chunks, MINIMUM_SHARE_CHUNKS)
    const weight = 1 - 0.5 ** (seconds / HALF_LIFE_SECONDS)
    this.gain = this.gain === undefined ? gain : this.gain + (gain - this.gain) * weight
  }

  isIdle(now: number): boolean {
    return now - this.#usedAt > IDLE_SECONDS * 1000
  }
}
