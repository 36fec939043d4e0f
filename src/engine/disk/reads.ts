import { FULL_SECTOR_MAP, PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { Log } from '../log/log.js'
import { copySectors } from '../log/log-reader.js'
import { dataExtent } from '../log/staged-extent.js'
import type { Origin } from '../origin/origin.js'
import type { Fill, Fills } from './fills.js'
import type { PageSpace } from './page-space.js'
import type { RangeLocks } from './range-locks.js'
import { ReadAhead } from './read-ahead.js'
import { DiskError } from './served-disk.js'
import type { StoredPage, StoredPages } from './stored-pages.js'

/** Bytes that fills may have staged and not yet appended; beyond, what a miss read is not installed. */
const MAXIMUM_STAGED_FILL_BYTES = 16 * 1024 * 1024

export interface ReadsOptions {
  readonly name: string
  readonly origin: Origin
  readonly space: PageSpace
  readonly stored: StoredPages
  readonly fills: Fills
  readonly locks: RangeLocks
  /** Pages that a miss brings in at once. */
  readonly blockPages: number
  readonly currentLog: () => Log | undefined
  /** Whether the origin is being sent something of these pages by the destage. */
  readonly isSending: (first: number, last: number) => boolean
  /** Whether the origin may have lost what it acknowledged. */
  readonly isInDoubt: () => boolean
  /** Sends it again. */
  readonly sendAgain: () => Promise<void>
  readonly originRead: (bytes: number) => void
  readonly admitted: (bytes: number) => void
}

const NO_PARTS: ReadonlyMap<number, StoredPage> = new Map()
const NO_PAGES: ReadonlySet<number> = new Set()

/** What a miss got from the origin, and may install unless the fill was cancelled; `done` ends that. */
interface Fetched {
  readonly data: Buffer
  readonly fill: Fill
  readonly done: () => void
}

/** What is known of pages before the origin is asked. */
interface KnownParts {
  readonly early: ReadonlyMap<number, StoredPage>
  readonly install: boolean
  /** Cancelled where `early` may be older than what the origin answers. */
  readonly parts?: Fill
}

/** Reads that are served from log and origin together, and what they bring into the log. */
export class Reads {
  readonly readAhead: ReadAhead
  readonly #options: ReadsOptions
  #stagedFillBytes = 0

  constructor(options: ReadsOptions) {
    this.#options = options
    const { space } = options
    this.readAhead = new ReadAhead(options.origin, options.fills, (offset, length) => {
      const first = space.firstPage(offset)
      const last = space.lastPage(offset, length)
      return { first, last, changing: this.#isChanging(first, last) }
    })
  }

  /** Serves a range; returns whether the origin was needed. What `install` is false for is not brought into the log. */
  async read(offset: number, length: number, target: Buffer, at: number, install: boolean): Promise<boolean> {
    const { space } = this.#options
    const first = space.firstPage(offset)
    const last = space.lastPage(offset, length)
    const missing = this.#missingFrom(first, last, offset, length)
    if (missing > last) return this.#readMissing(first, last, offset, length, target, at, install)
    const work: Promise<boolean>[] = []
    for (let page = first; page <= last;) {
      // What comes from where is decided here, before anything is waited for.
      if (this.#hasSectors(page, offset, length)) {
        work.push(this.#readCached(page, offset, length, target, at, install))
        page++
        continue
      }
      const end = this.#missingFrom(page, last, offset, length)
      work.push(this.#readMissing(page, end - 1, offset, length, target, at, install))
      page = end
    }
    // All of them end before an error is passed on: nobody writes into `target` afterwards.
    const results = await Promise.allSettled(work)
    let missed = false
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason
      missed ||= result.value
    }
    return missed
  }

  /** Whether all sectors of the request that lie in `page` are cached. */
  #hasSectors(page: number, offset: number, length: number): boolean {
    const { space, stored } = this.#options
    const wanted = space.sectorsWithin(page, offset, length)
    return (stored.sectorsOf(page) & wanted) === wanted
  }

  /** The first page from `page` on that is cached as far as the request needs it; behind `last` where none is. */
  #missingFrom(page: number, last: number, offset: number, length: number): number {
    while (page <= last && !this.#hasSectors(page, offset, length)) page++
    return page
  }

  async #readCached(
    page: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
    install: boolean,
  ): Promise<boolean> {
    const { space, stored } = this.#options
    const [from, to] = space.within(page, offset, length)
    const found = await stored.read(page)
    if (found === undefined) {
      // The device has lost it: the origin has it, and the cache is repaired by the fill.
      return this.#readMissing(page, page, offset, length, target, at, install)
    }
    copySectors(found.data, found.sectorMap, from, to, target, at + space.startOf(page) + from - offset)
    return false
  }

  async #readMissing(
    firstPage: number,
    lastPage: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
    install: boolean,
  ): Promise<boolean> {
    if (!this.#hasAny(firstPage, lastPage))
      return this.#readParts(firstPage, lastPage, offset, length, target, at, { early: NO_PARTS, install })
    // Before the origin is asked: once it has what is in the log here, the log may let go of it. A change from now on makes these parts old.
    const parts = this.#options.fills.begin(firstPage, lastPage, this.#isChanging(firstPage, lastPage))
    try {
      const early = await this.#storedParts(firstPage, lastPage)
      return await this.#readParts(firstPage, lastPage, offset, length, target, at, { early, install, parts })
    } finally {
      this.#options.fills.end(parts)
    }
  }

  /** Reads pages from the origin and puts on top what the log had of them before. */
  async #readParts(
    firstPage: number,
    lastPage: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
    { early, install, parts }: KnownParts,
  ): Promise<boolean> {
    const { space, stored, blockPages } = this.#options
    const log = this.#options.currentLog()
    // Behind the parts: what was zeroed or lost while they were read is not among them.
    this.#refuseBad(log, firstPage, lastPage, offset, length)
    const zeroes = this.#zeroPages(log, firstPage, lastPage)
    const from = Math.max(offset, space.startOf(firstPage))
    const to = Math.min(offset + length, space.startOf(lastPage + 1))
    if (zeroes.size === lastPage - firstPage + 1) {
      target.fill(0, at + from - offset, at + to - offset)
      for (let page = firstPage; page <= lastPage; page++)
        this.#overlay(early.get(page), page, offset, length, target, at)
      return false
    }
    const installs = install && log !== undefined
    // Whole blocks where they are going to be cached, else whole pages: part of one is never worth a request of its own.
    const unit = installs ? blockPages : 1
    const start = Math.max(0, space.startOf(Math.floor(firstPage / unit) * unit))
    const end = Math.min(space.sizeBytes, space.startOf(Math.floor(lastPage / unit) * unit + unit))
    const ahead = this.readAhead.take(start, end - start)
    const { data, fill, done } = (ahead && (await ahead)) ?? (await this.#fetch(start, end - start))
    try {
      // Sectors that the log has are newer than, or the same as, what the origin answered.
      for (let page = firstPage; page <= lastPage; page++) {
        if (zeroes.has(page)) this.#clear(page, data, start)
        if (!early.has(page) && stored.sectorsOf(page) === 0) continue
        const covered = space.within(page, start, data.length)
        const pageOffset = space.startOf(page) + covered[0]
        this.#overlay(early.get(page), page, pageOffset, covered[1] - covered[0], data, pageOffset - start)
        if (stored.sectorsOf(page) !== 0)
          this.#overlay(await stored.read(page), page, pageOffset, covered[1] - covered[0], data, pageOffset - start)
      }
      data.copy(target, at + from - offset, from - start, to - start)
      if (installs && !fill.cancelled && parts?.cancelled !== true && !this.#options.isInDoubt())
        this.#install(data, start)
    } finally {
      done()
    }
    return true
  }

  /** Pages that are bad are not read from the origin, which has older ones. */
  #refuseBad(log: Log | undefined, first: number, last: number, offset: number, length: number): void {
    if (log === undefined || log.badPages.size === 0) return
    for (let page = first; page <= last; page++) {
      if (!log.badPages.has(page) || this.#hasSectors(page, offset, length)) continue
      throw new DiskError(
        'EIO',
        `disk ${this.#options.name}: page ${page} was lost on the cache device before the origin had it; write it anew`,
      )
    }
  }

  #zeroPages(log: Log | undefined, first: number, last: number): ReadonlySet<number> {
    if (log === undefined || !log.zeroRanges.overlaps(first, last)) return NO_PAGES
    const zeroes = new Set<number>()
    for (let page = first; page <= last; page++) if (log.zeroRanges.has(page)) zeroes.add(page)
    return zeroes
  }

  /** Whether something of these pages is cached. */
  #hasAny(first: number, last: number): boolean {
    for (let page = first; page <= last; page++) if (this.#options.stored.sectorsOf(page) !== 0) return true
    return false
  }

  async #storedParts(first: number, last: number): Promise<Map<number, StoredPage>> {
    const parts = new Map<number, StoredPage>()
    for (let page = first; page <= last; page++) {
      if (this.#options.stored.sectorsOf(page) === 0) continue
      const found = await this.#options.stored.read(page)
      if (found !== undefined) parts.set(page, found)
    }
    return parts
  }

  /** Puts the stored sectors of a page that lie in [offset, offset + length) of the disk into `target`, which holds that range at `at`. */
  #overlay(
    found: StoredPage | undefined,
    page: number,
    offset: number,
    length: number,
    target: Buffer,
    at: number,
  ): void {
    if (found === undefined) return
    const { space } = this.#options
    const [from, to] = space.within(page, offset, length)
    for (let sector = from / SECTOR_BYTES; sector < to / SECTOR_BYTES; sector++) {
      if ((found.sectorMap & (1 << sector)) === 0) continue
      const start = sector * SECTOR_BYTES
      copySectors(
        found.data,
        found.sectorMap,
        start,
        start + SECTOR_BYTES,
        target,
        at + space.startOf(page) + start - offset,
      )
    }
  }

  #clear(page: number, data: Buffer, start: number): void {
    const { space } = this.#options
    const [from, to] = space.within(page, start, data.length)
    data.fill(0, space.startOf(page) + from - start, space.startOf(page) + to - start)
  }

  async #fetch(start: number, length: number): Promise<Fetched> {
    const { space, fills, origin, isInDoubt, sendAgain } = this.#options
    const first = space.firstPage(start)
    const last = space.lastPage(start, length)
    const fill = fills.begin(first, last, this.#isChanging(first, last))
    const data = Buffer.allocUnsafe(length)
    try {
      await origin.read(start, data)
      if (isInDoubt()) {
        // A guest hears at its next flush of what cannot be sent again.
        await sendAgain().catch(() => undefined)
        await origin.read(start, data)
        fill.cancelled = true
      }
    } catch (error) {
      fills.end(fill)
      throw error
    }
    this.#options.originRead(length)
    return { data, fill, done: () => fills.end(fill) }
  }

  /** Whether the origin may answer something older than what is under way to it, or to the log. */
  #isChanging(first: number, last: number): boolean {
    const { locks, isSending } = this.#options
    return (
      locks.overlaps(first, last) ||
      (this.#options.currentLog()?.isChanging(first, last) ?? false) ||
      isSending(first, last) ||
      this.#options.isInDoubt()
    )
  }

  /** Stages what a miss read, page by page where parts of it are cached already. */
  #install(data: Buffer, start: number): void {
    const { space } = this.#options
    const log = this.#options.currentLog()
    if (log === undefined || this.#stagedFillBytes > MAXIMUM_STAGED_FILL_BYTES) return
    const first = space.firstPage(start)
    const last = space.lastPage(start, data.length)
    let staged = 0
    for (let page = first; page <= last;) {
      const map = space.sectorsOf(page)
      let end = page
      while (end <= last && space.sectorsOf(end) === map && this.#mayInstall(log, end)) end++
      if (end === page) {
        page++
        continue
      }
      if (map !== FULL_SECTOR_MAP) end = page + 1
      const from = Math.max(0, page * PAGE_BYTES - space.phaseBytes - start)
      const to = Math.min(data.length, space.startOf(end) - start)
      log.stageCopy(dataExtent(page, end - page, map, data.subarray(from, to)))
      staged += to - from
      page = end
    }
    if (staged === 0) return
    this.#options.admitted(staged)
    this.#stagedFillBytes += staged
    const done = (): void => void (this.#stagedFillBytes -= staged)
    log.appended().then(done, done)
  }

  /** Not what is cached whole, and not what the origin has an older version of. */
  #mayInstall(log: Log, page: number): boolean {
    const { stored, space } = this.#options
    const map = space.sectorsOf(page)
    return (
      (stored.sectorsOf(page) & map) !== map &&
      !stored.isDirty(page) &&
      !log.zeroRanges.has(page) &&
      !log.badPages.has(page)
    )
  }
}
