import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { DiskMeter } from '../disk/disk.js'
import { DiskError, type ServedDisk } from '../disk/served-disk.js'
import { NOWHERE } from '../index/page-table.js'
import type { FollowedLog } from '../log/followed-log.js'
import { LogReader, copySectors } from '../log/log-reader.js'
import { sectorsBetween } from '../log/page-sectors.js'
import { readEntry } from '../log/stored-chunk.js'
import type { AllocationExtent } from '../origin/origin.js'
import type { Calls } from './calls.js'
import { Room } from './room.js'
import type { OwnerCalls, ReaderCalls, SharedDiskDescription } from './sharing-messages.js'

/** The thread that owns the disk, as seen from one that reads it. */
export type DiskOwner = Pick<Calls<OwnerCalls, ReaderCalls>, 'call'>

/** What waits for the owner at a time, for one disk. */
const MAXIMUM_ASKED_BYTES = 32 * 1024 * 1024
/** Hits are told to the owner when there are so many, or when the first of them is so old. */
const MOST_HITS = 1024
const HITS_MILLISECONDS = 100

const reader = new LogReader()

/**
 * A read-only disk on a thread that does not own it. What its index has it reads from the device by itself; all else it asks of the owner,
 * which counts it.
 */
export class DiskReader implements ServedDisk {
  readonly name: string
  readonly sizeBytes: number
  readonly readOnly = true
  readonly minimumBlockBytes: number
  readonly preferredBlockBytes: number
  readonly canTrim: boolean
  readonly canZero: boolean
  #log: FollowedLog | undefined
  #phaseBytes = 0
  readonly #room = new Room(MAXIMUM_ASKED_BYTES)
  readonly #hits = new Uint32Array(MOST_HITS)
  #hitCount = 0
  #telling = false
  #cancelTimer: (() => void) | undefined

  constructor(
    description: SharedDiskDescription,
    readonly owner: DiskOwner,
    readonly meter: DiskMeter,
    readonly clock: Clock,
  ) {
    this.name = description.name
    this.sizeBytes = description.sizeBytes
    this.minimumBlockBytes = description.minimumBlockBytes
    this.preferredBlockBytes = description.preferredBlockBytes
    this.canTrim = description.canTrim
    this.canZero = description.canZero
  }

  /** From now on hits are looked for in `log`. @param phase sectors that are added before the division into pages */
  useLog(log: FollowedLog, phase: number): void {
    this.#log = log
    this.#phaseBytes = phase * SECTOR_BYTES
  }

  tryRead(offset: number, length: number, target: Buffer, at: number): boolean {
    const log = this.#log
    if (log === undefined) return false
    const { meter, clock } = this
    const startedAt = clock.monotonic()
    try {
      if (!reader.tryRead(log, meter, offset + this.#phaseBytes, length, target, at)) return false
    } catch {
      // Whoever watches the device has heard of it; the owner knows what to do.
      return false
    }
    meter.read(length, true, (clock.monotonic() - startedAt) * 1000)
    this.#noteHits(offset, length)
    return true
  }

  async read(offset: number, length: number, target: Buffer, at: number): Promise<void> {
    const startedAt = this.clock.monotonic()
    if (await this.#readStored(offset, length, target, at)) {
      this.meter.read(length, true, (this.clock.monotonic() - startedAt) * 1000)
      this.#noteHits(offset, length)
      return
    }
    await this.#room.enter(length)
    try {
      target.set(await asked(this.owner.call('read', { offset, length })), at)
    } finally {
      this.#room.leave(length)
    }
  }

  /** Reads a range of which all is in the index, where the device has to be waited for; false where anything of it is not there. */
  async #readStored(offset: number, length: number, target: Buffer, at: number): Promise<boolean> {
    const log = this.#log
    if (log === undefined) return false
    const start = offset + this.#phaseBytes
    const pages: { location: number; from: number; to: number; at: number }[] = []
    for (let page = Math.floor(start / PAGE_BYTES); page * PAGE_BYTES < start + length; page++) {
      const location = log.table.find(page)
      if (location === NOWHERE) return false
      const from = Math.max(0, start - page * PAGE_BYTES)
      const to = Math.min(PAGE_BYTES, start + length - page * PAGE_BYTES)
      const wanted = sectorsBetween(from, to)
      const { sectorMap } = log.slots[(location / log.entriesPerChunk) | 0]!.columns
      if ((sectorMap[location % log.entriesPerChunk]! & wanted) !== wanted) return false
      pages.push({ location, from, to, at: at + page * PAGE_BYTES + from - start })
    }
    // All of them are begun before anything is waited for, so that each has its chunk; and end before anybody else writes into `target`.
    const outcomes = await Promise.allSettled(
      pages.map(async ({ location, from, to, at: pageAt }) => {
        const chunk = log.slots[(location / log.entriesPerChunk) | 0]!
        const ordinal = location % log.entriesPerChunk
        const page = chunk.columns.page[ordinal]!
        const sectorMap = chunk.columns.sectorMap[ordinal]!
        const stored = await readEntry(chunk, ordinal, this.meter)
        if (stored !== undefined) copySectors(stored, sectorMap, from, to, target, pageAt)
        else if (log.table.find(page) === location) log.forgetRange(page, 1)
        return stored !== undefined
      }),
    )
    return outcomes.every((outcome) => outcome.status === 'fulfilled' && outcome.value)
  }

  /** The owner judges what is hot. Hits that come while it has not taken the last ones, and find no room, are not told. */
  #noteHits(offset: number, length: number): void {
    const start = offset + this.#phaseBytes
    for (let page = Math.floor(start / PAGE_BYTES); page * PAGE_BYTES < start + length; page++) {
      if (this.#hitCount === MOST_HITS) this.#tellHits()
      if (this.#hitCount === MOST_HITS) return
      this.#hits[this.#hitCount++] = page
    }
    this.#cancelTimer ??= this.clock.after(HITS_MILLISECONDS, () => this.#tellHits())
  }

  #tellHits(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    if (this.#telling) return
    const pages = this.#hits.slice(0, this.#hitCount)
    this.#hitCount = 0
    this.#telling = true
    void this.owner.call('noteHits', pages).then(() => (this.#telling = false))
  }

  prefetch(offset: number, length: number): Promise<void> {
    return asked(this.owner.call('prefetch', { offset, length }))
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return asked(this.owner.call('allocation', { offset, length }))
  }

  flush(): Promise<void> {
    return asked(this.owner.call('flush', null))
  }

  tryWrite(): boolean {
    return false
  }

  write(): Promise<void> {
    return Promise.reject(this.#isReadOnly())
  }

  trim(): Promise<void> {
    return Promise.reject(this.#isReadOnly())
  }

  zero(): Promise<void> {
    return Promise.reject(this.#isReadOnly())
  }

  #isReadOnly(): DiskError {
    return new DiskError('EPERM', `disk ${this.name} is read-only`)
  }
}

/** The answer of the owner; its failures as clients are to hear of them. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    const errno = error instanceof VmcacheError ? error.details['errno'] : undefined
    throw typeof errno === 'string' ? new DiskError(errno as DiskError['errno'], (error as Error).message) : error
  }
}
