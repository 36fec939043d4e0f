import type { Clock } from '../../base/clock.js'
import { VmcacheError, messageOf } from '../../base/errors.js'
import { EXTENT_KIND } from '../../format/frame.js'
import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { Mode } from '../../model/mode.js'
import type { DiskState } from '../../protocol/control/documents.js'
import { NOWHERE } from '../index/page-table.js'
import type { Batch } from '../log/batch.js'
import { copySectors, sectorsBetween, type LogReader } from '../log/log-reader.js'
import type { Log, LogCounters } from '../log/log.js'
import type { OpenedLog } from '../log/open-log.js'
import { NO_DATA, dataExtent, markExtent, type StagedExtent } from '../log/staged-extent.js'
import { PAGES_PER_REGION, TouchedRegions } from '../log/touched-regions.js'
import { OriginError, type AllocationExtent, type Origin } from '../origin/origin.js'
import { Fills, type Fill } from './fills.js'
import { Gate } from './gate.js'
import { MODE_PATHS } from './modes/modes.js'
import type { LoggingDisk, ModePath } from './modes/mode-path.js'
import { RangeLocks, type RangeLock } from './range-locks.js'
import { ReadAhead } from './read-ahead.js'
import { DiskError, type ServedDisk } from './served-disk.js'
import { Streams } from './streams.js'
import { TrafficPhase } from './traffic-phase.js'
import { Unflushed, withoutWritten, type Change, type ChangeKind } from './unflushed.js'

/** A region that was not written for so long, and flushed since, is no longer touched. */
const QUIET_MILLISECONDS = 30_000
/** How long after the last write `settledLsn` is written down, if no other frame does it. */
const MARK_MILLISECONDS = 50
/** How long after the last write the log is committed: what is stable can be told from a torn end, should a bit of it rot. */
const COMMIT_MILLISECONDS = 1000
/** The origin is flushed by ourselves when so many changes wait for a guest's flush. */
const MAXIMUM_UNFLUSHED = 16_384
/** Bytes that fills may have staged and not yet appended; beyond, what a miss read is not installed. */
const MAXIMUM_STAGED_FILL_BYTES = 16 * 1024 * 1024
/** A sequential stream longer than this is not cached. */
export const DEFAULT_SEQUENTIAL_LIMIT_BYTES = 1024 * 1024
/** What a prefetch reads from the origin at once. */
const PREFETCH_BYTES = 1024 * 1024

/** What a disk counts; latencies in microseconds. */
export interface DiskMeter extends LogCounters {
  read(bytes: number, hit: boolean, microseconds: number): void
  write(bytes: number, hit: boolean, microseconds: number): void
  flush(microseconds: number): void
  originRead(bytes: number): void
  originWrite(bytes: number): void
  /** Bytes that a guest wrote into the cache or a miss filled. */
  admitted(bytes: number): void
}

export interface DiskOptions {
  readonly name: string
  readonly origin: Origin
  readonly readOnly: boolean
  readonly mode: Mode
  /** Pages that a miss brings in at once. */
  readonly blockPages: number
  /** Sectors that are added before the division into pages. */
  readonly phase: number
  readonly sequentialLimitBytes: number
  readonly reader: LogReader
  readonly meter: DiskMeter
  readonly clock: Clock
  /** The log, recovered up to its commit point; undefined where the mode has none. */
  readonly log: OpenedLog | undefined
  /** Why it begins without the log that its mode wants, in state `direct`. */
  readonly withoutLog?: string
  /** Makes a new, empty log, for a change of mode, after the log was lost, or with another phase that the traffic asks for. */
  readonly newLog: (phase?: number) => Promise<OpenedLog>
  /**
   * Raises the epoch in stamp and state database, so that a log that misses writes is never believed again. Resolves before the
   * first request that goes past the log.
   */
  readonly raiseEpoch: () => Promise<void>
  readonly onState: (state: DiskState, reason: string | null) => void
}

/** One virtual disk: its requests go through its log to its origin. */
export class Disk implements ServedDisk, LoggingDisk {
  readonly #options: DiskOptions
  readonly #origin: Origin
  /** Changes only while no request is under way: pages and locks are known by numbers that depend on it. */
  #phaseBytes: number
  /** What the first requests to a new log say of it. */
  #traffic: TrafficPhase | undefined
  /** All requests but those of {@link tryRead}, which never wait. */
  readonly #gate = new Gate()
  #log: Log | undefined
  #path: ModePath
  #state: DiskState = 'serving'
  #reason: string | null = null
  readonly #locks = new RangeLocks()
  readonly #fills = new Fills()
  readonly #readStreams = new Streams()
  readonly #writeStreams = new Streams()
  readonly #readAhead: ReadAhead
  readonly #unflushed: Unflushed
  readonly #touched = new TouchedRegions()
  readonly #touching = new Map<number, Promise<void>>()
  #stagedFillBytes = 0
  #flushing: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined
  /** What a flush failed with that the guest had not asked for. */
  #unheard: Unprovable | undefined
  #leavingLog: Promise<void> | undefined
  #markTimer: (() => void) | undefined
  #commitTimer: (() => void) | undefined
  #quietTimer: (() => void) | undefined
  readonly #blockPages: number
  #closed = false

  constructor(options: DiskOptions) {
    this.#options = options
    this.#origin = options.origin
    this.#phaseBytes = options.phase * SECTOR_BYTES
    this.#path = MODE_PATHS[options.mode]
    this.#blockPages = options.blockPages
    this.#unflushed = new Unflushed(options.origin.session)
    this.#readAhead = new ReadAhead(options.origin, this.#fills, (offset, length) => {
      const first = this.#firstPage(offset)
      const last = this.#lastPage(offset, length)
      return { first, last, changing: this.#locks.overlaps(first, last) }
    })
    if (options.withoutLog !== undefined) {
      this.#path = MODE_PATHS['pass-through']
      this.#state = 'direct'
      this.#reason = options.withoutLog
    }
    if (options.log !== undefined) this.#useLog(options.log)
  }

  get name(): string {
    return this.#options.name
  }
  get sizeBytes(): number {
    return this.#origin.description.sizeBytes
  }
  get readOnly(): boolean {
    return this.#options.readOnly || this.#origin.description.readOnly
  }
  get minimumBlockBytes(): number {
    return this.#origin.description.logicalBlockBytes
  }
  get preferredBlockBytes(): number {
    return PAGE_BYTES
  }
  get canTrim(): boolean {
    return this.#origin.description.canTrim
  }
  get canZero(): boolean {
    return this.#origin.description.canZero
  }
  get log(): Log | undefined {
    return this.#log
  }
  get mode(): Mode {
    return this.#path.mode
  }
  get state(): DiskState {
    return this.#state
  }
  get reason(): string | null {
    return this.#reason
  }

  // ---------------------------------------------------------------------------------------------------------- reading

  tryRead(offset: number, length: number, target: Buffer, at: number): boolean {
    const log = this.#log
    if (log === undefined || this.#closed) return false
    const { reader, meter, clock } = this.#options
    const startedAt = clock.monotonic()
    try {
      if (!reader.tryRead(log, meter, offset + this.#phaseBytes, length, target, at)) return false
    } catch (error) {
      void this.#logLost(error)
      return false
    }
    meter.read(length, true, (clock.monotonic() - startedAt) * 1000)
    return true
  }

  async read(offset: number, length: number, target: Buffer, at: number): Promise<void> {
    this.#checkOpen()
    const { meter, clock, sequentialLimitBytes } = this.#options
    const startedAt = clock.monotonic()
    const streamed = this.#readStreams.note(offset, length)
    const bypass = streamed > sequentialLimitBytes
    if (!bypass) this.#noteTraffic(offset, length)
    const missed = await this.#readThrough(offset, length, target, at, bypass)
    if (missed && streamed > length) this.#readAhead.begin(offset + length)
    meter.read(length, !missed, (clock.monotonic() - startedAt) * 1000)
  }

  /** Serves a range from log and origin; returns whether the origin was needed. */
  async #readThrough(offset: number, length: number, target: Buffer, at: number, bypass: boolean): Promise<boolean> {
    const waiting = this.#gate.enter()
    if (waiting !== undefined) await waiting
    const first = this.#firstPage(offset)
    const last = this.#lastPage(offset, length)
    const work: Promise<boolean>[] = []
    for (let page = first; page <= last;) {
      // What comes from where is decided here, before anything is waited for.
      if (this.#hasSectors(page, offset, length)) {
        work.push(this.#readCached(page, offset, length, target, at, bypass))
        page++
        continue
      }
      let end = page + 1
      while (end <= last && !this.#hasSectors(end, offset, length)) end++
      work.push(this.#readMissing(page, end - 1, offset, length, target, at, bypass))
      page = end
    }
    // All of them end before an error is passed on: nobody writes into `target` afterwards.
    const results = await Promise.allSettled(work)
    this.#gate.leave()
    let missed = false
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason
      missed ||= result.value
    }
    return missed
  }

  /** Whether all sectors of the request that lie in `page` are cached. */
  #hasSectors(page: number, offset: number, length: number): boolean {
    const log = this.#log
    if (log === undefined) return false
    const location = log.table.find(page)
    if (location === NOWHERE) return false
    const [from, to] = this.#within(page, offset, length)
    const wanted = sectorsBetween(from, to)
    const { sectorMap } = log.slots[(location / log.entriesPerChunk) | 0]!.columns
    return (sectorMap[location % log.entriesPerChunk]! & wanted) === wanted
  }

  /** The part of a byte range of the disk that lies in a page, as bytes of the page. */
  #within(page: number, offset: number, length: number): [number, number] {
    const pageStart = page * PAGE_BYTES - this.#phaseBytes
    return [Math.max(0, offset - pageStart), Math.min(PAGE_BYTES, offset + length - pageStart)]
  }

  async #readCached(
    page: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
    bypass: boolean,
  ): Promise<boolean> {
    const [from, to] = this.#within(page, offset, length)
    const pageStart = page * PAGE_BYTES - this.#phaseBytes
    const stored = await this.#storedPage(page)
    if (stored === undefined) {
      // The device has lost it: the origin has it, and the cache is repaired by the fill.
      return this.#readMissing(page, page, offset, length, target, at, bypass)
    }
    copySectors(stored.data, stored.sectorMap, from, to, target, at + pageStart + from - offset)
    return false
  }

  /** What the log has of a page, verified; undefined where it has nothing that is whole. Forgets a page that is bad. */
  async #storedPage(page: number): Promise<{ data: Buffer; sectorMap: number } | undefined> {
    const log = this.#log
    if (log === undefined) return undefined
    const location = log.table.find(page)
    if (location === NOWHERE) return undefined
    const chunk = log.slots[(location / log.entriesPerChunk) | 0]!
    const ordinal = location % log.entriesPerChunk
    const sectorMap = chunk.columns.sectorMap[ordinal]!
    try {
      const data = await log.readEntry(chunk, ordinal)
      if (data !== undefined) return { data, sectorMap }
      if (log.table.find(page) === location) log.forgetRange(page, 1)
    } catch (error) {
      void this.#logLost(error)
    }
    return undefined
  }

  async #readMissing(
    firstPage: number,
    lastPage: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
    bypass: boolean,
  ): Promise<boolean> {
    const install = !bypass && this.#path.logs && this.#log !== undefined
    // Whole blocks where they are going to be cached, else whole pages: part of one is never worth a request of its own.
    const unit = install ? this.#blockPages : 1
    const first = Math.floor(firstPage / unit) * unit
    const last = Math.floor(lastPage / unit) * unit + unit - 1
    const start = Math.max(0, first * PAGE_BYTES - this.#phaseBytes)
    const end = Math.min(this.sizeBytes, (last + 1) * PAGE_BYTES - this.#phaseBytes)
    const { data, fill, done } =
      (await this.#readAhead.take(start, end - start)) ?? (await this.#readOrigin(start, end - start))
    try {
      // Sectors that the log has are newer than, or the same as, what the origin answered.
      for (let page = firstPage; page <= lastPage; page++) await this.#overlay(page, data, start)
      const from = Math.max(offset, firstPage * PAGE_BYTES - this.#phaseBytes)
      const to = Math.min(offset + length, (lastPage + 1) * PAGE_BYTES - this.#phaseBytes)
      data.copy(target, at + from - offset, from - start, to - start)
      if (install && !fill.cancelled) this.#install(data, start)
    } finally {
      done()
    }
    return true
  }

  async #readOrigin(start: number, length: number): Promise<{ data: Buffer; fill: Fill; done: () => void }> {
    const first = this.#firstPage(start)
    const last = this.#lastPage(start, length)
    const fill = this.#fills.begin(first, last, this.#locks.overlaps(first, last))
    const data = Buffer.allocUnsafe(length)
    try {
      await this.#origin.read(start, data)
    } catch (error) {
      this.#fills.end(fill)
      throw error
    }
    this.#options.meter.originRead(length)
    return { data, fill, done: () => this.#fills.end(fill) }
  }

  async #overlay(page: number, data: Buffer, start: number): Promise<void> {
    if (this.#log === undefined || this.#log.table.find(page) === NOWHERE) return
    const stored = await this.#storedPage(page)
    if (stored === undefined) return
    const pageStart = page * PAGE_BYTES - this.#phaseBytes
    for (let sector = 0; sector < PAGE_BYTES / SECTOR_BYTES; sector++) {
      if ((stored.sectorMap & (1 << sector)) === 0) continue
      const from = sector * SECTOR_BYTES
      copySectors(stored.data, stored.sectorMap, from, from + SECTOR_BYTES, data, pageStart + from - start)
    }
  }

  /** Stages what a miss read, page by page where parts of it are cached already. */
  #install(data: Buffer, start: number): void {
    const log = this.#log
    if (log === undefined || this.#stagedFillBytes > MAXIMUM_STAGED_FILL_BYTES) return
    const first = this.#firstPage(start)
    const last = this.#lastPage(start, data.length)
    let staged = 0
    for (let page = first; page <= last;) {
      const map = this.#sectorsOf(page)
      let end = page
      while (end <= last && this.#sectorsOf(end) === map && !this.#isCached(end)) end++
      if (end === page) {
        page++
        continue
      }
      if (map !== FULL_SECTOR_MAP) end = page + 1
      const from = Math.max(0, page * PAGE_BYTES - this.#phaseBytes - start)
      const to = Math.min(data.length, end * PAGE_BYTES - this.#phaseBytes - start)
      log.stageCopy(dataExtent(page, end - page, map, data.subarray(from, to)))
      staged += to - from
      page = end
    }
    if (staged === 0) return
    this.#options.meter.admitted(staged)
    this.#stagedFillBytes += staged
    const done = (): void => void (this.#stagedFillBytes -= staged)
    log.appended().then(done, done)
  }

  /** Whether every sector that the disk has of a page is cached. */
  #isCached(page: number): boolean {
    const log = this.#log
    if (log === undefined) return false
    const location = log.table.find(page)
    if (location === NOWHERE) return false
    const map = this.#sectorsOf(page)
    return (
      (log.slots[(location / log.entriesPerChunk) | 0]!.columns.sectorMap[location % log.entriesPerChunk]! & map) ===
      map
    )
  }

  /** The sectors of a page that lie on the disk: all, but for the first and the last page. */
  #sectorsOf(page: number): number {
    const pageStart = page * PAGE_BYTES - this.#phaseBytes
    if (pageStart >= 0 && pageStart + PAGE_BYTES <= this.sizeBytes) return FULL_SECTOR_MAP
    return sectorsBetween(Math.max(0, -pageStart), Math.min(PAGE_BYTES, this.sizeBytes - pageStart))
  }

  async prefetch(offset: number, length: number): Promise<void> {
    this.#checkOpen()
    for (let at = offset; at < offset + length; at += PREFETCH_BYTES) {
      const piece = Math.min(PREFETCH_BYTES, offset + length - at)
      await this.#readThrough(at, piece, Buffer.allocUnsafe(piece), 0, false)
      await this.#log?.appended().catch(() => undefined)
    }
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#checkOpen()
    return this.#origin.allocation(offset, length)
  }

  // --------------------------------------------------------------------------------------------------------- changing

  async write(offset: number, data: Buffer, fua: boolean): Promise<void> {
    const { meter, clock, sequentialLimitBytes } = this.#options
    const startedAt = clock.monotonic()
    const bypass = this.#writeStreams.note(offset, data.length) > sequentialLimitBytes
    if (!bypass) this.#noteTraffic(offset, data.length)
    const hit = this.#isCached(this.#firstPage(offset))
    await this.#change('write', offset, data.length, {
      record: () => this.#path.record(this, offset, data, bypass),
      send: () => this.#origin.write(offset, data),
    })
    if (this.#path.mode === 'write-through' && !bypass) meter.admitted(data.length)
    if (fua) await this.flush()
    meter.write(data.length, hit, (clock.monotonic() - startedAt) * 1000)
  }

  async trim(offset: number, length: number, fua: boolean): Promise<void> {
    await this.#change('trim', offset, length, {
      record: () => Promise.resolve(this.stage(this.#markExtents(EXTENT_KIND.trim, offset, length))),
      send: () => this.#origin.trim(offset, length),
    })
    if (fua) await this.flush()
  }

  async zero(
    offset: number,
    length: number,
    options: { mayTrim: boolean; fast: boolean; fua: boolean },
  ): Promise<void> {
    await this.#change('zero', offset, length, {
      record: () => Promise.resolve(this.stage(this.#markExtents(EXTENT_KIND.zero, offset, length))),
      send: () => this.#origin.zero(offset, length, options),
    })
    if (options.fua) await this.flush()
  }

  /**
   * The one path of a change: alone on its pages, no fill installs what it read before, its regions are marked, the log has it,
   * then the origin, then it is settled. Where the origin refuses, the log says that the pages are invalid.
   */
  async #change(
    kind: ChangeKind,
    offset: number,
    length: number,
    steps: { record: () => Promise<Batch | undefined>; send: () => Promise<void> },
  ): Promise<void> {
    this.#checkOpen()
    if (this.readOnly) throw new DiskError('EPERM', `disk ${this.name} is read-only`)
    const waiting = this.#gate.enter()
    if (waiting !== undefined) await waiting
    const first = this.#firstPage(offset)
    const last = this.#lastPage(offset, length)
    const lock = await this.#locks.acquire(first, last)
    this.#fills.cancel(first, last)
    let batch: Batch | undefined
    try {
      this.#checkOpen()
      if (this.#leavingLog !== undefined) await this.#leavingLog
      const log = this.#log
      if (log !== undefined) {
        try {
          await this.#touch(first, last)
          batch = await steps.record()
          await batch?.written
        } catch (error) {
          if (!this.#isLogFailure(log)) throw error
          batch = undefined
          await this.#logLost(error)
        }
      }
      // The log may have been lost while this request was on its way into it: nothing goes past it before the epoch is raised.
      if (this.#leavingLog !== undefined) await this.#leavingLog
      try {
        await steps.send()
      } catch (error) {
        if (batch !== undefined) await this.#invalidate(first, last)
        throw error
      }
      this.#options.meter.originWrite(length)
      this.#unflushed.add(kind, offset, length)
    } finally {
      batch?.settle()
      this.#release(lock)
      this.#gate.leave()
    }
    if (this.#unflushed.size > MAXIMUM_UNFLUSHED) await this.flush()
  }

  #release(lock: RangeLock): void {
    // A region that a slow origin kept busy is as fresh as its last answer.
    const now = this.#options.clock.monotonic()
    for (const region of regionsOf(lock.first, lock.last))
      if (this.#touched.has(region)) this.#touched.touch(region, now)
    this.#locks.release(lock)
    this.#markLater()
    this.#quietLater()
  }

  /** What the origin refused may be there or not: nothing of it is served from the log. */
  async #invalidate(first: number, last: number): Promise<void> {
    const log = this.#log
    if (log === undefined) return
    log.stageMark(markExtent(EXTENT_KIND.invalid, first, last - first + 1))
    try {
      await log.appended()
    } catch (error) {
      await this.#logLost(error)
    }
  }

  stage(extents: readonly StagedExtent[]): Batch | undefined {
    const log = this.#log
    if (log === undefined) return undefined
    if (log.failure !== undefined) throw log.failure
    let batch: Batch | undefined
    for (const extent of extents) batch = log.stageWrite(extent)
    batch?.join()
    return batch
  }

  invalidExtent(offset: number, length: number): StagedExtent {
    const first = this.#firstPage(offset)
    return markExtent(EXTENT_KIND.invalid, first, this.#lastPage(offset, length) - first + 1)
  }

  async dataExtents(offset: number, data: Buffer): Promise<StagedExtent[]> {
    const first = this.#firstPage(offset)
    const last = this.#lastPage(offset, data.length)
    const extents: StagedExtent[] = []
    for (let page = first; page <= last;) {
      const [from, to] = this.#within(page, offset, data.length)
      const pageStart = page * PAGE_BYTES - this.#phaseBytes
      if (to - from < PAGE_BYTES) {
        const part = data.subarray(pageStart + from - offset, pageStart + to - offset)
        extents.push(await this.#joinWithCached(page, from, part))
        page++
        continue
      }
      const whole = Math.floor((offset + data.length - pageStart) / PAGE_BYTES)
      extents.push(
        dataExtent(
          page,
          whole,
          FULL_SECTOR_MAP,
          data.subarray(pageStart - offset, pageStart - offset + whole * PAGE_BYTES),
        ),
      )
      page += whole
    }
    return extents
  }

  /** Part of a page, joined with what is cached of the rest: a page has one location. */
  async #joinWithCached(page: number, from: number, part: Buffer): Promise<StagedExtent> {
    const map = sectorsBetween(from, from + part.length)
    const stored = await this.#storedPage(page)
    if (stored === undefined || (stored.sectorMap & ~map) === 0) return dataExtent(page, 1, map, part)
    const joined = stored.sectorMap | map
    const pieces: Buffer[] = []
    for (let sector = 0; sector < PAGE_BYTES / SECTOR_BYTES; sector++) {
      const bit = 1 << sector
      const start = sector * SECTOR_BYTES
      if ((map & bit) !== 0) pieces.push(part.subarray(start - from, start - from + SECTOR_BYTES))
      else if ((stored.sectorMap & bit) !== 0) {
        const piece = Buffer.allocUnsafe(SECTOR_BYTES)
        copySectors(stored.data, stored.sectorMap, start, start + SECTOR_BYTES, piece, 0)
        pieces.push(piece)
      }
    }
    return dataExtent(page, 1, joined, Buffer.concat(pieces))
  }

  /** Zeroes or trims as extents: the whole pages of a range, and parts of pages at its ends. */
  #markExtents(kind: number, offset: number, length: number): StagedExtent[] {
    const first = this.#firstPage(offset)
    const last = this.#lastPage(offset, length)
    const extents: StagedExtent[] = []
    const add = (page: number, count: number, sectorMap: number): void => {
      if (count > 0) extents.push({ kind, page, count, sectorMap, data: NO_DATA, relocated: undefined })
    }
    const mapOf = (page: number): number => sectorsBetween(...this.#within(page, offset, length))
    const headIsPart = mapOf(first) !== FULL_SECTOR_MAP
    const tailIsPart = last > first && mapOf(last) !== FULL_SECTOR_MAP
    if (headIsPart) add(first, 1, mapOf(first))
    const wholeFirst = first + (headIsPart ? 1 : 0)
    add(wholeFirst, last - (tailIsPart ? 1 : 0) - wholeFirst + 1, FULL_SECTOR_MAP)
    if (tailIsPart) add(last, 1, mapOf(last))
    return extents
  }

  // --------------------------------------------------------------------------------------------------- touched regions

  /** Ends when all regions of the pages are marked as touched on stable storage. */
  async #touch(first: number, last: number): Promise<void> {
    const now = this.#options.clock.monotonic()
    let missing: number[] | undefined
    const waiting: Promise<void>[] = []
    for (const region of regionsOf(first, last)) {
      const touching = this.#touching.get(region)
      if (this.#touched.has(region)) this.#touched.touch(region, now)
      else if (touching !== undefined) waiting.push(touching)
      else (missing ??= []).push(region)
    }
    if (missing !== undefined) waiting.push(this.#markTouched(missing))
    if (waiting.length > 0) await Promise.all(waiting)
  }

  #markTouched(regions: readonly number[]): Promise<void> {
    const log = this.#log!
    const first = regions[0]!
    const last = regions.at(-1)!
    log.stageMark(markExtent(EXTENT_KIND.touched, first * PAGES_PER_REGION, (last - first + 1) * PAGES_PER_REGION))
    const marked = log
      .appended()
      .then(() => log.commit())
      .then(() => {
        const now = this.#options.clock.monotonic()
        for (const region of regions) this.#touched.touch(region, now)
      })
      .finally(() => {
        for (const region of regions) this.#touching.delete(region)
      })
    for (const region of regions) this.#touching.set(region, marked)
    return marked
  }

  #markLater(): void {
    if (this.#log === undefined || this.#closed) return
    this.#markTimer ??= this.#options.clock.after(MARK_MILLISECONDS, () => {
      this.#markTimer = undefined
      this.#log?.mark()
    })
    this.#commitTimer ??= this.#options.clock.after(COMMIT_MILLISECONDS, () => {
      this.#commitTimer = undefined
      const log = this.#log
      // A log that fails says so itself.
      log?.appended().then(
        () => log.commit().catch(() => undefined),
        () => undefined,
      )
    })
  }

  #quietLater(): void {
    if (this.#touched.size === 0 || this.#closed) return
    this.#quietTimer ??= this.#options.clock.after(QUIET_MILLISECONDS, () => {
      this.#quietTimer = undefined
      this.#takeBackMarks().then(
        () => this.#quietLater(),
        // The guest hears of a flush that failed at its own next one; the marks stay.
        () => this.#quietLater(),
      )
    })
  }

  /** Takes back the marks of regions that were quiet, after log and origin were flushed. */
  async #takeBackMarks(): Promise<void> {
    const before = this.#options.clock.monotonic() - QUIET_MILLISECONDS
    const isQuiet = (region: number): boolean =>
      !this.#locks.overlaps(region * PAGES_PER_REGION, (region + 1) * PAGES_PER_REGION - 1)
    if (!this.#touched.quietSince(before).some(isQuiet)) return
    const log = this.#log
    if (log === undefined) return
    await log.appended()
    await log.commit()
    await this.flush().catch((error: unknown) => {
      if (error instanceof Unprovable) this.#unheard = error
      throw error
    })
    if (log !== this.#log) return
    for (const region of this.#touched.quietSince(before).filter(isQuiet)) {
      this.#touched.forget(region)
      log.stageMark(markExtent(EXTENT_KIND.quiet, region * PAGES_PER_REGION, PAGES_PER_REGION))
    }
  }

  // --------------------------------------------------------------------------------------------------------- flushing

  /** Flushes the origin. Callers that come while one runs share the next. */
  async flush(): Promise<void> {
    this.#checkOpen()
    const startedAt = this.#options.clock.monotonic()
    const waiting = this.#gate.enter()
    if (waiting !== undefined) await waiting
    try {
      await this.#flushWithOthers()
    } finally {
      this.#gate.leave()
    }
    const unheard = this.#unheard
    this.#unheard = undefined
    if (unheard !== undefined) throw unheard
    this.#options.meter.flush((this.#options.clock.monotonic() - startedAt) * 1000)
  }

  #flushWithOthers(): Promise<void> {
    if (this.#flushing === undefined)
      return (this.#flushing = this.#flushOrigin().finally(() => (this.#flushing = undefined)))
    return (this.#nextFlush ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#nextFlush = undefined
        return (this.#flushing = this.#flushOrigin().finally(() => (this.#flushing = undefined)))
      }))
  }

  /**
   * One flush. What an earlier session of the origin was sent is sent again from the log first; where the log has not got all of it, the
   * flush fails, once: it cannot be proven that the writes are there. `alone` says that the caller keeps all changes away already; such a flush is not
   * the guest's own, so it hears of that at its next one.
   */
  async #flushOrigin(options: { readonly alone: boolean } = { alone: false }): Promise<void> {
    const { changes, session } = this.#unflushed.take()
    try {
      const now = this.#origin.session
      if (now !== session && changes.length > 0) await this.#sendAgain(changes, options)
      this.#unflushed.sentIn(now)
      await this.#origin.flush()
      if (this.#origin.session !== now)
        throw new OriginError(`the origin of disk ${this.name} was reconnected during a flush`)
    } catch (error) {
      if (!(error instanceof Unprovable)) this.#unflushed.putBack(changes)
      else if (options.alone) this.#unheard = error
      throw error
    }
  }

  /** Sends again what can be; a change that was overwritten since must not undo that. Ends with the first write that is not cached any more. */
  async #sendAgain(changes: readonly Change[], { alone }: { readonly alone: boolean }): Promise<void> {
    let unprovable: Unprovable | undefined
    for (const [index, { kind, offset, length }] of changes.entries()) {
      const [first, last] = [this.#firstPage(offset), this.#lastPage(offset, length)]
      const lock = alone ? undefined : await this.#locks.acquire(first, last)
      try {
        const later = (): Change[] => [...changes.slice(index + 1), ...this.#unflushed.changes]
        if (kind === 'zero') {
          for (const part of withoutWritten(offset, length, later()))
            await this.#origin.zero(part.offset, part.length, { mayTrim: true, fast: false })
        } else if (kind === 'write') {
          const missing = await this.#sendWriteAgain(offset, length, later)
          unprovable ??= missing
        }
      } finally {
        if (lock !== undefined) this.#locks.release(lock)
      }
    }
    if (unprovable !== undefined) throw unprovable
  }

  /** Sends a write again from the log, page by page; returns the error for what is not there. */
  async #sendWriteAgain(offset: number, length: number, later: () => Change[]): Promise<Unprovable | undefined> {
    let unprovable: Unprovable | undefined
    for (let page = this.#firstPage(offset); page <= this.#lastPage(offset, length); page++) {
      const [from, to] = this.#within(page, offset, length)
      const start = page * PAGE_BYTES - this.#phaseBytes + from
      const wanted = sectorsBetween(from, to)
      const stored = await this.#storedPage(page)
      if (stored === undefined || (stored.sectorMap & wanted) !== wanted) {
        // A later zero or trim decides what is there.
        const isReplaced = later().some(
          (change) =>
            change.kind !== 'write' && change.offset <= start && start + to - from <= change.offset + change.length,
        )
        if (!isReplaced)
          unprovable ??= new Unprovable(
            `the origin of disk ${this.name} was reconnected, and ${to - from} bytes at ${start} that it had not flushed are no longer cached`,
          )
        continue
      }
      const data = Buffer.allocUnsafe(to - from)
      copySectors(stored.data, stored.sectorMap, from, to, data, 0)
      await this.#origin.write(start, data)
    }
    return unprovable
  }

  // -------------------------------------------------------------------------------------------------- log and life time

  #useLog(opened: OpenedLog): void {
    this.#log = opened.log
    const { phase } = opened.log.identity
    this.#phaseBytes = phase * SECTOR_BYTES
    this.#traffic = opened.isNew ? new TrafficPhase(phase) : undefined
    const now = this.#options.clock.monotonic()
    for (const region of opened.log.touchedRegions) this.#touched.touch(region, now)
    this.#quietLater()
    this.#setState('recovering', null)
    void opened.load().then(
      () => {
        if (this.#state === 'recovering') this.#setState('serving', null)
      },
      (error: unknown) => void this.#logLost(error),
    )
  }

  #isLogFailure(log: Log): boolean {
    return log.failure !== undefined || this.#log !== log
  }

  /** The log's device failed: what it has is never believed again, and the disk goes on without it. */
  #logLost(error: unknown): Promise<void> {
    if (this.#leavingLog !== undefined) return this.#leavingLog
    const log = this.#log
    if (log === undefined) return Promise.resolve()
    this.#log = undefined
    this.#path = MODE_PATHS['pass-through']
    this.#touched.clear()
    log.abandon()
    const reason = `the cache device failed: ${messageOf(error)}`
    this.#leavingLog = this.#options.raiseEpoch().then(
      () => {
        this.#leavingLog = undefined
        this.#setState('direct', reason)
      },
      (failure: unknown) => {
        this.#setState('failed', `${reason}; the epoch could not be raised: ${messageOf(failure)}`)
        throw new DiskError('EIO', `disk ${this.name}: ${this.#reason}`)
      },
    )
    this.#leavingLog.catch(() => undefined)
    return this.#leavingLog
  }

  /** Told by the log when its device failed outside of a request. */
  logFailed(error: Error): void {
    if (!this.#closed) void this.#logLost(error)
  }

  /**
   * Changes the mode while requests go on. A mode without log gives the log back first, so that nothing in it can be found later. WRONG_STATE
   * for a disk that lost its log.
   */
  async setMode(mode: Mode): Promise<void> {
    const path = MODE_PATHS[mode]
    const lock = await this.#locks.acquire(0, Infinity)
    try {
      if (this.#state === 'direct' || this.#state === 'failed') {
        throw new VmcacheError('WRONG_STATE', `disk ${this.name} cannot change its mode: ${this.#reason}`, {
          hint: 'detach it and attach it to a cache that works',
        })
      }
      const log = this.#log
      if (path.logs && log === undefined) {
        // What the origin could still lose must not be cached: nothing would mark it as touched.
        await this.#flushOrigin({ alone: true })
        this.#useLog(await this.#options.newLog())
      } else if (!path.logs && log !== undefined) {
        this.#log = undefined
        this.#touched.clear()
        await log.destroy()
      }
      this.#path = path
    } finally {
      this.#locks.release(lock)
    }
  }

  /** Notes a request to a new log, until they say which phase serves them best. */
  #noteTraffic(offset: number, length: number): void {
    if (this.#traffic?.note(offset, length) !== true) return
    const { wanted } = this.#traffic
    this.#traffic = undefined
    if (wanted * SECTOR_BYTES !== this.#phaseBytes) void this.#takeUpPhase(wanted)
  }

  /** Begins the log anew with the phase that its traffic asks for; once, so that it never goes to and fro. */
  async #takeUpPhase(phase: number): Promise<void> {
    await this.#gate.shut()
    const lock = await this.#locks.acquire(0, Infinity)
    const log = this.#log
    try {
      if (log === undefined || this.#closed) return
      // What the origin could still lose must not be cached: nothing would mark it as touched.
      const flushed = await this.#flushOrigin({ alone: true }).then(
        () => true,
        () => false,
      )
      if (!flushed || this.#log !== log) return
      this.#log = undefined
      this.#touched.clear()
      await log.destroy()
      const opened = await this.#options.newLog(phase)
      // What is read ahead knows its pages by the old phase.
      this.#readAhead.clear()
      this.#fills.cancel(0, Infinity)
      this.#useLog({ ...opened, isNew: false })
    } catch (error) {
      this.#log = log
      void this.#logLost(error)
    } finally {
      this.#locks.release(lock)
      this.#gate.open()
    }
  }

  /** Leaves state `direct`: goes on in `mode` with a new log, while requests go on. Where that fails it stays as it is. */
  async resumeLog(mode: Mode): Promise<void> {
    const path = MODE_PATHS[mode]
    const lock = await this.#locks.acquire(0, Infinity)
    try {
      if (this.#state !== 'direct') return
      await this.#flushOrigin({ alone: true })
      if (path.logs) this.#useLog(await this.#options.newLog())
      else this.#setState('serving', null)
      this.#path = path
    } finally {
      this.#locks.release(lock)
    }
  }

  /** Forgets every cached page, in the log too. */
  async invalidate(): Promise<void> {
    const log = this.#log
    if (log === undefined) return
    this.#readAhead.clear()
    this.#fills.cancel(0, Infinity)
    log.stageMark(markExtent(EXTENT_KIND.invalid, 0, 0xffff_ffff))
    try {
      await log.appended()
      await log.commit()
    } catch (error) {
      // A log that was left meanwhile has no pages either.
      if (this.#log === log) throw error
    }
  }

  /**
   * Ends service: changes under way end, the origin is flushed, the log is closed cleanly or, without `keepLog`, given back. A flush that
   * fails leaves the disk serving.
   */
  async close(options: { keepLog: boolean }): Promise<void> {
    const lock = await this.#locks.acquire(0, Infinity)
    try {
      // Also where this engine wrote nothing: an engine before it may have, and marks of touched regions are taken back now.
      if (!this.readOnly) await this.#flushOrigin({ alone: true })
      this.#closed = true
      this.#markTimer?.()
      this.#commitTimer?.()
      this.#quietTimer?.()
      this.#readAhead.clear()
      const log = this.#log
      if (log !== undefined && log.failure === undefined) await (options.keepLog ? log.close() : log.destroy())
    } finally {
      this.#locks.release(lock)
    }
  }

  #setState(state: DiskState, reason: string | null): void {
    this.#state = state
    this.#reason = reason
    this.#options.onState(state, reason)
  }

  #checkOpen(): void {
    if (this.#closed) throw new DiskError('ESHUTDOWN', `disk ${this.name} is being detached`)
    if (this.#state === 'failed') throw new DiskError('EIO', `disk ${this.name}: ${this.#reason}`)
  }

  #firstPage(offset: number): number {
    return Math.floor((offset + this.#phaseBytes) / PAGE_BYTES)
  }

  #lastPage(offset: number, length: number): number {
    return Math.floor((offset + this.#phaseBytes + length - 1) / PAGE_BYTES)
  }
}

/** A flush that failed because the log no longer has what would have to be sent again. */
class Unprovable extends OriginError {}

function* regionsOf(first: number, last: number): Generator<number> {
  for (let region = Math.floor(first / PAGES_PER_REGION); region <= Math.floor(last / PAGES_PER_REGION); region++)
    yield region
}
