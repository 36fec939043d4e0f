import { PAGE_BYTES, SECTORS_PER_PAGE, SECTOR_BYTES } from '../../model/geometry.js'

/** Requests of whole pages that are looked at. */
const SAMPLE_REQUESTS = 1000
/** Another phase than the present one must serve this part of them. */
const CLEAR_PART = 0.9
/** A disk that has been used so much, and hardly ever in whole pages, keeps its phase: its log is not new any more. */
const MOST_REQUESTS = 10_000

/**
 * What the first requests to a new log say of the disk's phase. A guest's file system asks for whole pages of its own: a request of
 * whole pages that begins off our grid touches one page more than it must, two of them in part, whatever its length. So the phase that
 * serves a guest best is the one that most of these requests lie on. Other requests say nothing of a grid.
 */
export class TrafficPhase {
  /** Requests of whole pages, by the phase whose grid they lie on. */
  readonly #requests = new Int32Array(SECTORS_PER_PAGE)
  readonly #present: number
  #sampled = 0
  #seen = 0

  /** @param present phase of the log in sectors */
  constructor(present: number) {
    this.#present = present
  }

  /** Notes a request, in bytes of the disk; returns whether it was the last one that is looked at. */
  note(offset: number, length: number): boolean {
    this.#seen++
    if (length % PAGE_BYTES === 0 && length > 0) {
      const sector = (offset / SECTOR_BYTES) % SECTORS_PER_PAGE
      this.#requests[(SECTORS_PER_PAGE - sector) % SECTORS_PER_PAGE]!++
      this.#sampled++
    }
    return this.#sampled >= SAMPLE_REQUESTS || this.#seen >= MOST_REQUESTS
  }

  /** The phase that the requests ask for: the present one unless another is clearly better. */
  get wanted(): number {
    if (this.#sampled < SAMPLE_REQUESTS) return this.#present
    const clear = this.#requests.findIndex((requests) => requests >= CLEAR_PART * this.#sampled)
    return clear === -1 ? this.#present : clear
  }
}
