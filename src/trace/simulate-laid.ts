import { assert } from '../base/assert.js'
import type { LaidReplacement, ReplacementModule } from '../engine/replacement/replacement.js'
import { Slots } from '../engine/replacement/slot-lists.js'
import type { PageAccesses } from './page-accesses.js'
import type { SimulationResult } from './simulate.js'

export interface LaidResult extends SimulationResult {
  /** Pages that a miss or a write brought to the log. */
  readonly admittedPages: number
  /** Pages that reclaim appended again. */
  readonly copiedPages: number
  /** All that was appended over what was admitted; null without. */
  readonly writtenPerAdmitted: number | null
}

/** The log appends at most this part of a reclaimed chunk again, as the real one does. */
const MOST_KEPT_PART = 7 / 8

/**
 * Runs a policy in its laid form over a model of one disk's log: `chunkCount` chunks that hold `capacityPages` together.
 * A miss or a write appends the page and leaves its older version as a dead slot. When the last free chunk is opened the
 * oldest one is reclaimed into it: what the policy keeps is appended there.
 */
export function simulateLaid(
  module: ReplacementModule,
  { pages, writes }: Pick<PageAccesses, 'pages' | 'writes'>,
  capacityPages: number,
  chunkCount: number,
): LaidResult {
  const chunkPages = Math.floor(capacityPages / chunkCount)
  assert(chunkCount >= 2 && chunkPages >= 1, 'a log has two chunks or more, and a chunk holds a page')
  const log = new ModelLog(module.laid(chunkPages * chunkCount), chunkCount, chunkPages)
  let misses = 0
  for (let index = 0; index < pages.length; index++) {
    if (!log.access(pages[index]!, writes[index] === 1)) misses++
  }
  const { admittedPages, copiedPages } = log
  return {
    accesses: pages.length,
    misses,
    missRatio: pages.length === 0 ? null : misses / pages.length,
    admittedPages,
    copiedPages,
    writtenPerAdmitted: admittedPages === 0 ? null : (admittedPages + copiedPages) / admittedPages,
  }
}

const NOWHERE = -1

/** A ring of chunks. A *position* is a place in it; it is live as long as the page that was put there last is found there. */
class ModelLog {
  admittedPages = 0
  copiedPages = 0
  readonly #cached: Slots
  readonly #positions: Int32Array
  readonly #heat: Uint8Array
  /** Slot of {@link Slots} that was put at each position. */
  readonly #slotAt: Int32Array
  #open = 0
  #filled = 0
  #oldest = 0
  #usedChunks = 1

  constructor(
    readonly policy: LaidReplacement,
    readonly chunkCount: number,
    readonly chunkPages: number,
  ) {
    const capacity = chunkCount * chunkPages
    this.#cached = new Slots(capacity)
    this.#positions = new Int32Array(capacity).fill(NOWHERE)
    this.#heat = new Uint8Array(capacity)
    this.#slotAt = new Int32Array(capacity).fill(NOWHERE)
  }

  /** Whether the page was cached. */
  access(page: number, write: boolean): boolean {
    const slot = this.#cached.find(page)
    if (slot !== NOWHERE) {
      this.#heat[slot] = this.policy.hit(this.#heat[slot]!)
      if (write) this.#admit(page)
      return true
    }
    this.#admit(page)
    return false
  }

  #admit(page: number): void {
    this.admittedPages++
    while (this.#filled === this.chunkPages) this.#openNextChunk()
    // Making room may have dropped the page that is overwritten.
    let slot = this.#cached.find(page)
    if (slot === NOWHERE) {
      slot = this.#cached.add(page)
      this.#heat[slot] = this.policy.inserted(page)
    }
    this.#append(slot)
  }

  #append(slot: number): void {
    const position = this.#open * this.chunkPages + this.#filled++
    this.#slotAt[position] = slot
    this.#positions[slot] = position
  }

  #openNextChunk(): void {
    this.#open = (this.#open + 1) % this.chunkCount
    this.#filled = 0
    if (++this.#usedChunks === this.chunkCount) this.#reclaimOldest()
  }

  #reclaimOldest(): void {
    const first = this.#oldest * this.chunkPages
    const end = first + this.chunkPages
    let live = 0
    for (let position = first; position < end; position++) if (this.#isLive(position)) live++
    this.policy.reclaiming?.(live, this.chunkPages, false)
    const mostKept = Math.floor(this.chunkPages * MOST_KEPT_PART)
    let kept = 0
    for (let position = first; position < end; position++) {
      if (!this.#isLive(position)) continue
      const slot = this.#slotAt[position]!
      const heat = this.policy.reclaimed(this.#cached.keys[slot]!, this.#heat[slot]!)
      if (heat === -1 || kept === mostKept) {
        this.#positions[slot] = NOWHERE
        this.#cached.delete(slot)
      } else {
        kept++
        this.#heat[slot] = heat
        this.#append(slot)
      }
    }
    this.copiedPages += kept
    this.#oldest = (this.#oldest + 1) % this.chunkCount
    this.#usedChunks--
  }

  #isLive(position: number): boolean {
    return this.#positions[this.#slotAt[position]!] === position
  }
}
