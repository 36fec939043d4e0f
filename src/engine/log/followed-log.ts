import { assert } from '../../base/assert.js'
import { PageTable } from '../index/page-table.js'
import type { Chunk } from './chunk-source.js'
import type { ChunkAddress, IndexUpdate, PlacedRun } from './log-feed.js'
import type { ReadableLog } from './log-reader.js'
import { StoredChunk } from './stored-chunk.js'

/** Another thread's index of a log, for reading alone. It holds what a {@link LogFeed} told it, at most. */
export class FollowedLog implements ReadableLog {
  readonly table: PageTable
  readonly slots: (StoredChunk | undefined)[] = []
  /** Which pages are hot is for the log to judge, which hears of the hits. */
  readonly replacement = { hit: (heat: number): number => heat }
  #newest: StoredChunk | undefined

  /** @param chunkAt the chunk at an address, on devices that this thread has open */
  constructor(
    readonly entriesPerChunk: number,
    readonly chunkAt: (address: ChunkAddress) => Chunk,
  ) {
    const { slots } = this
    this.table = new PageTable(
      (location) => slots[(location / entriesPerChunk) | 0]!.columns.page[location % entriesPerChunk]!,
    )
  }

  get bytes(): number {
    return this.slots.reduce((sum, chunk) => sum + (chunk?.columns.bytes ?? 0), this.table.bytes)
  }

  /** Carries out an update; what it takes away is not found from now on, and not read any more when the promise ends. */
  async follow(update: IndexUpdate): Promise<void> {
    switch (update.kind) {
      case 'placed':
        for (const run of update.runs) this.#place(run)
        return
      case 'forgotten':
        return this.forgetRange(update.page, update.count)
      case 'left':
        return this.#leave(update.slot)
      case 'ended': {
        const chunks = this.slots.splice(0)
        this.#newest = undefined
        this.table.clear()
        for (const chunk of chunks) await chunk?.idle()
      }
    }
  }

  /** Forgets these pages; of many, rather too much: what is missing here is asked of the log. */
  forgetRange(page: number, count: number): void {
    if (count === 1) this.table.delete(page)
    else this.table.clear()
  }

  forgetBad(page: number): void {
    this.forgetRange(page, 1)
  }

  /** Nothing of a read-only disk is. */
  isDirty(): boolean {
    return false
  }

  #place({ slot, address, entries }: PlacedRun): void {
    const chunk = (this.slots[slot] ??= new StoredChunk(this.chunkAt(address), slot))
    if (this.#newest !== chunk) {
      // The one before is full, as a rule.
      this.#newest?.columns.trim()
      this.#newest = chunk
    }
    for (let at = 0; at < entries.length; at += 3) {
      const unitAndMap = entries[at + 2]!
      const ordinal = chunk.columns.add(entries[at]!, entries[at + 1]!, unitAndMap >>> 8, unitAndMap & 0xff, 0, false)
      assert(ordinal < this.entriesPerChunk, 'a chunk has no more entries than its log placed there')
      this.table.set(entries[at]!, slot * this.entriesPerChunk + ordinal)
    }
  }

  async #leave(slot: number): Promise<void> {
    const chunk = this.slots[slot]
    if (chunk === undefined) return
    const { page, count } = chunk.columns
    for (let ordinal = 0; ordinal < count; ordinal++) {
      if (this.table.find(page[ordinal]!) === slot * this.entriesPerChunk + ordinal) this.table.delete(page[ordinal]!)
    }
    this.slots[slot] = undefined
    if (this.#newest === chunk) this.#newest = undefined
    await chunk.idle()
  }
}
