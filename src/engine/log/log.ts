import { appendTo } from '../../base/append-to.js'
import { assert } from '../../base/assert.js'
import { VmcacheError } from '../../base/errors.js'
import type { Clock } from '../../base/clock.js'
import { checksumOf } from '../../base/checksum.js'
import { CHUNK_FLAG, CHUNK_HEADER_BYTES, CHUNK_KIND, encodeChunkHeader } from '../../format/chunk-header.js'
import {
  EXTENT_KIND,
  FRAME_FLAG,
  FRAME_KIND,
  encodeExtent,
  encodeFrameHeaders,
  extentOffset,
  frameDataOffset,
  lsnUnitsOf,
  pageChecksumOffset,
  roundUp,
  sectorCount,
} from '../../format/frame.js'
import { summaryBytes } from '../../format/summary.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { ByteRange, Device } from '../device/device.js'
import { NOWHERE, PageTable } from '../index/page-table.js'
import type { LaidReplacement } from '../replacement/replacement.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import { Append } from './append.js'
import { Batch } from './batch.js'
import { ChunkReserve, RESERVE_CHUNKS } from './chunk-reserve.js'
import type { Chunk, ChunkSource } from './chunk-source.js'
import { fitFrame } from './frame-fit.js'
import { writeFreeHeader } from './free-header.js'
import { LogChunk, encodeSummary } from './log-chunk.js'
import type { LogFollower } from './log-feed.js'
import { inOrder, joinClosest } from './page-ranges.js'
import { sectorsOnDisk } from './page-sectors.js'
import { readEntry } from './stored-chunk.js'
import { PAGES_PER_REGION, regionRanges } from './touched-regions.js'
import { dataExtent, markExtent, type StagedExtent } from './staged-extent.js'
import { ZeroRanges } from './zero-ranges.js'

/** Chunks that are written but not yet proven by a summary: as many as a recovery has to scan. */
const MAXIMUM_UNSEALED_CHUNKS = 4
/** How long a log that has nothing yet waits for its first chunk. */
const FIRST_CHUNK_MILLISECONDS = 5000
/** Bytes of one append; a frame is never larger. */
export const APPEND_BUFFER_BYTES = 2 * 1024 * 1024
/** A chunk with less room for frames than this is full. */
const MINIMUM_ROOM_BYTES = 16 * 1024
/** A frame without data, on a device of any block size. */
const MINIMUM_FRAME_BYTES = 4096
/** Of a reclaimed chunk at most this part is appended again: a log that keeps everything would never have room. */
const MAXIMUM_KEPT = 7 / 8
/** Pages that a reclaim looks at before it lets others have the thread. */
const RECLAIM_SLICE_PAGES = 64
/**
 * A snapshot of touched regions, and what a session says of the pages that were dropped, take at most this part of a chunk's entries each, so
 * that both fit into the chunk that they begin. Beyond, close ranges are joined: marking more is safe.
 */
const MAXIMUM_RANGES = 1 / 4

/** Whose log it is; every chunk header repeats it, so that a cache can be imported from its devices alone. */
export interface LogIdentity {
  readonly logId: string
  readonly diskName: string
  readonly origin: string
  readonly diskBytes: number
  /** Phase of the disk in sectors. */
  readonly phase: number
}

/** Where a log goes on. */
export interface LogPosition {
  readonly session: number
  readonly nextSequence: number
  readonly nextFrame: number
  readonly nextLsn: number
  readonly settledLsn: number
  readonly stableFrame: number
  readonly lastFrameChecksum: number
  readonly lastWriteChecksum: number
}

export const NEW_LOG: Omit<LogPosition, 'session'> = {
  nextSequence: 1,
  nextFrame: 1,
  nextLsn: 1,
  settledLsn: 1,
  stableFrame: 1,
  lastFrameChecksum: 0,
  lastWriteChecksum: 0,
}

/** What a log counts; added to by the log alone. */
export interface LogCounters {
  deviceWrittenBytes: number
  deviceReadBytes: number
  evictions: number
  reinsertions: number
  /** Of pages that were appended again. */
  relocatedBytes: number
  badPages: number
}

export interface LogOptions {
  readonly identity: LogIdentity
  readonly epoch: number
  readonly bootId: string
  readonly source: ChunkSource
  readonly clock: Clock
  readonly counters: LogCounters
  /** Runs a callback at the end of this turn of the event loop. */
  readonly defer: (callback: () => void) => void
  /** Called once, when a device failed under the log: nothing can be appended any more. */
  readonly onFailed: (error: Error) => void
}

/** Where a page was written again, in LSNs. */
export interface SetAside {
  readonly lsn: number
  readonly units: number
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/**
 * The log of one disk. Its methods never wait for an origin. After a failure of a device every append rejects; what is
 * in the index may still be read as long as the device answers.
 */
export class Log {
  readonly table: PageTable
  /** Chunks by slot; a location is slot * entriesPerChunk + ordinal. */
  readonly slots: (LogChunk | undefined)[] = []
  readonly entriesPerChunk: number
  replacement: LaidReplacement
  /** Most chunks that the log may hold; it recycles its own beyond. */
  maximumChunks: number

  /**
   * Set while the index is loaded behind the traffic: hears of pages that are forgotten, so that an older version of them is not
   * found later. A chunk that is reclaimed meanwhile is dropped as a whole.
   */
  onForgotten: ((page: number, count: number) => void) | undefined
  /** Of a write-back log: hears that an append finds no chunk, so that what is dirty is destaged. */
  onStarved: (() => void) | undefined

  /** Write-back: what is written stays dirty until {@link settle}; else a batch is settled by its requests. */
  isWriteBack = false
  /** Whole pages that read as zeroes though the origin does not know it yet. */
  readonly zeroRanges = new ZeroRanges()
  /** Pages of which a write was lost before the origin had it: what is not cached of them cannot be read. */
  readonly badPages = new Set<number>()
  /** Whoever keeps an index of the same pages for reading. */
  follower: LogFollower | undefined

  readonly #options: LogOptions
  /** Oldest first. */
  readonly #chunks: LogChunk[] = []
  #open: LogChunk | undefined
  readonly #session: number
  #sessionStart: number
  #nextSequence: number
  #nextFrame: number
  #nextLsn: number
  #settledLsn: number
  #loggedSettledLsn: number
  #stableFrame: number
  #lastFrameChecksum: number
  #lastWriteChecksum: number
  #failure: Error | undefined
  #resolveFailed!: () => void
  /** Ends when the log has failed. */
  readonly #failed = new Promise<void>((resolve) => (this.#resolveFailed = resolve))

  // What waits for the next append. Copies come first, so that a mark or a write of the same turn prevails over them.
  #copies: StagedExtent[] = []
  #marks: StagedExtent[] = []
  #writes: StagedExtent[] = []
  /** The writes of the append under way: in the log, but not found by a read yet. */
  #writing: readonly StagedExtent[] = []
  /** Dirty pages that are to be written again, and who wants to hear whether they were. */
  #aside: {
    readonly page: number
    readonly location: number
    readonly extent: StagedExtent
    readonly resolve: (done: SetAside | undefined) => void
  }[] = []
  /** Pages that are to be written down as bad, with where they are, and who waits for that. */
  #bad: { readonly page: number; readonly location: number }[] = []
  #badWaiters: Waiter[] = []
  #batch: Batch | undefined
  #flags = 0
  #markSettled = false
  #scheduled = false
  #running = false
  /** The last append that was begun. */
  #appending: Promise<void> = Promise.resolve()
  #appendWaiters: Waiter[] = []
  /** Who waits for copies: those staged since the append began, and those of the append under way. */
  #copyWaiters: (() => void)[] = []
  #currentCopyWaiters: (() => void)[] = []
  /** Appended batches that are not settled, oldest first. */
  readonly #unsettled: Batch[] = []
  /** Regions that are marked as touched by the frames so far. */
  readonly #loggedRegions = new Set<number>()
  /** Devices that are being removed from the cache, by position. */
  readonly #vacated = new Set<number>()

  #committing: Promise<void> | undefined
  #nextCommit: Promise<void> | undefined
  readonly #sealing = new Set<Promise<void>>()
  #reclaiming: Promise<void> | undefined
  #wakeChunkWait: (() => void) | undefined
  /** Whether the chunk source will tell of a change. */
  #watching = false
  /** The frame, and the LSN, behind the last one that the device has. */
  #writtenFrame: number
  #writtenLsn: number
  #stableLsn: number
  /** Where `settledLsn` stood in the newest frame that the device has, and that is stable. */
  #writtenSettledLsn: number
  #stableSettledLsn: number
  #settledWaiters: Waiter[] = []
  /** Where in its chunk the first frame at or above `settledLsn` begins. */
  #settledOffset = 0
  /** Of a write-back log: chunks that are kept back. */
  readonly #reserve = new ChunkReserve()
  /** A session begins: its first frames may use the reserve. */
  #beginning = false

  constructor(options: LogOptions, position: LogPosition, replacement: LaidReplacement, maximumChunks: number) {
    this.#options = options
    this.replacement = replacement
    this.maximumChunks = maximumChunks
    this.entriesPerChunk = options.source.chunkBytes / SECTOR_BYTES
    const { slots, entriesPerChunk } = this
    this.table = new PageTable(
      (location) => slots[(location / entriesPerChunk) | 0]!.columns.page[location % entriesPerChunk]!,
    )
    this.#session = position.session
    this.#sessionStart = position.nextSequence
    this.#nextSequence = position.nextSequence
    this.#nextFrame = position.nextFrame
    this.#nextLsn = position.nextLsn
    this.#settledLsn = position.settledLsn
    this.#loggedSettledLsn = position.settledLsn
    this.#stableFrame = position.stableFrame
    this.#lastFrameChecksum = position.lastFrameChecksum
    this.#lastWriteChecksum = position.lastWriteChecksum
    this.#writtenFrame = position.nextFrame
    this.#writtenLsn = position.nextLsn
    this.#stableLsn = position.nextLsn
    this.#writtenSettledLsn = position.settledLsn
    this.#stableSettledLsn = position.settledLsn
  }

  get identity(): LogIdentity {
    return this.#options.identity
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  get settledLsn(): number {
    return this.#settledLsn
  }

  /** The LSN behind the last write frame that the device has. */
  get writtenLsn(): number {
    return this.#writtenLsn
  }

  /** The LSN behind the last write frame that is on stable storage. */
  get stableLsn(): number {
    return this.#stableLsn
  }

  /** Bytes of write frames that the origin still needs from the log. */
  get dirtyBytes(): number {
    return this.isWriteBack ? (this.#nextLsn - this.#settledLsn) * SECTOR_BYTES : 0
  }

  get pagesPerChunk(): number {
    return this.#options.source.chunkBytes / PAGE_BYTES
  }

  get chunkCount(): number {
    return this.#chunks.length + this.#reserve.count
  }

  get chunks(): readonly LogChunk[] {
    return this.#chunks
  }

  get cachedBytes(): number {
    return this.table.size * PAGE_BYTES
  }

  get indexBytes(): number {
    let bytes = this.table.bytes
    for (const chunk of this.#chunks) bytes += chunk.columns.bytes
    return bytes
  }

  // ---------------------------------------------------------------------------------------------- chunks that exist

  /** Takes over a chunk that recovery found; oldest first. Its entries are published by the caller. */
  adopt(
    chunk: Chunk,
    generation: number,
    sequence: number,
    session: number,
    firstFrame: number,
    firstLsn: number,
  ): LogChunk {
    const slot = this.#freeSlot()
    const adopted = new LogChunk(chunk, generation, slot, sequence, session, firstFrame, firstLsn, 'sealed')
    this.slots[slot] = adopted
    this.#chunks.push(adopted)
    return adopted
  }

  // ------------------------------------------------------------------------------------------------------ appending

  /** Stages guest data, zeroes or trims; the batch says when they are written and wants to hear when they are settled. */
  stageWrite(extent: StagedExtent): Batch {
    this.#writes.push(extent)
    this.#batch ??= new Batch()
    this.#schedule()
    return this.#batch
  }

  /** Stages a fill or a relocated page; it is dropped without a word where there is no room for it. */
  stageCopy(extent: StagedExtent): void {
    this.#copies.push(extent)
    this.#schedule()
  }

  /** Stages an extent without data that is no guest's request: invalid, touched or quiet. */
  stageMark(extent: StagedExtent): void {
    this.#marks.push(extent)
    this.#schedule()
  }

  /** Whether there is something that the origin lacks, or will be when it is appended. */
  get hasDirty(): boolean {
    return this.dirtyBytes > 0 || this.hasStagedWrites
  }

  /** Whether writes are on their way into the log. */
  get hasStagedWrites(): boolean {
    return this.#writes.length > 0 || this.#writing.length > 0
  }

  /** Ends when all that was staged before has been written (or, of copies, dropped). */
  appended(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (!this.#running && !this.#hasStaged()) return Promise.resolve()
    return new Promise((resolve, reject) => this.#appendWaiters.push({ resolve, reject }))
  }

  /** Writes `settledLsn` down where it moved since the last frame, so that a kill finds the log settled. */
  mark(): void {
    if (this.#settledLsn === this.#loggedSettledLsn || this.#failure !== undefined || this.#open === undefined) return
    this.#markSettled = true
    this.#schedule()
  }

  /** Whether a write of some of these pages is staged, or written but not yet found by reads. */
  isChanging(first: number, last: number): boolean {
    return overlapsAny(this.#writes, first, last) || overlapsAny(this.#writing, first, last)
  }

  /**
   * Writes down that the page at a location is lost; ends when the log says so, or has something newer of it. A full log has room for that.
   */
  recordBad(page: number, location: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      this.#bad.push({ page, location })
      this.#badWaiters.push({ resolve, reject })
      this.#schedule()
    })
  }

  /** Marks for the pages of which nothing newer was written meanwhile. */
  #takeBad(): StagedExtent[] {
    return this.#bad
      .splice(0)
      .filter(({ page, location }) => this.table.find(page) === location)
      .map(({ page }) => markExtent(EXTENT_KIND.bad, page, 1))
  }

  /**
   * Writes the data of a dirty page again, so that all before it can be settled. Ends with the LSN where that is, and how many units it takes: none
   * where the log has something newer of the page; undefined where there is no room for it now. `extent` is what is stored at the location.
   */
  setAside(page: number, location: number, extent: StagedExtent): Promise<SetAside | undefined> {
    if (this.#failure !== undefined) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      this.#aside.push({ page, location, extent, resolve })
      this.#schedule()
    })
  }

  #hasStaged(): boolean {
    if (this.#bad.length > 0 || this.#aside.length > 0) return true
    return this.#copies.length > 0 || this.#marks.length > 0 || this.#writes.length > 0 || this.#markSettled
  }

  #schedule(): void {
    if (this.#running || this.#scheduled) {
      this.#wakeChunkWait?.()
      return
    }
    this.#scheduled = true
    this.#options.defer(() => {
      this.#scheduled = false
      this.#appending = this.#run()
    })
  }

  async #run(): Promise<void> {
    if (this.#running) return
    this.#running = true
    const append = new Append(alignedBuffer(APPEND_BUFFER_BYTES))
    let waiters: Waiter[] = []
    let batch: Batch | undefined
    try {
      while (this.#hasStaged() || this.#appendWaiters.length > 0 || this.#copyWaiters.length > 0) {
        this.#refuseFailed()
        const copies = this.#copies
        const marks = this.#marks
        const writes = this.#writes
        const marking = this.#markSettled
        batch = this.#batch
        waiters = this.#appendWaiters
        this.#currentCopyWaiters = this.#copyWaiters
        this.#copies = []
        this.#marks = []
        this.#writes = []
        this.#writing = writes
        this.#markSettled = false
        this.#batch = undefined
        this.#appendWaiters = []
        this.#copyWaiters = []
        if (copies.length > 0) {
          await this.#appendCopies(append, copies)
          if (this.#currentCopyWaiters.length > 0) {
            await this.#write(append)
            for (const resolve of this.#currentCopyWaiters.splice(0)) resolve()
          }
        }
        if (this.#bad.length > 0) await this.#appendBad(append)
        // Before the writes of this turn: those are newer.
        if (this.#aside.length > 0) await this.#appendAside(append)
        if (marks.length > 0 || marking) await this.#appendAll(append, FRAME_KIND.copies, marks)
        if (batch !== undefined) {
          batch.firstLsn = this.#nextLsn
          // Before its positions are given out: what settles meanwhile must not move `settledLsn` over them.
          if (!this.isWriteBack) this.#unsettled.push(batch)
          await this.#appendAll(append, FRAME_KIND.writes, writes)
        }
        const written = this.#write(append)
        if (written !== undefined) await written
        this.#writing = []
        if (batch !== undefined) {
          batch.complete(this.#nextLsn, this.#advanceSettled)
          batch = undefined
        }
        for (const resolve of this.#currentCopyWaiters.splice(0)) resolve()
        for (const waiter of waiters) waiter.resolve()
        waiters = []
      }
    } catch (error) {
      batch?.fail(error as Error)
      for (const waiter of waiters) waiter.reject(error as Error)
      this.#fail(error as Error)
    } finally {
      releaseAligned(append.buffer)
      this.#writing = []
      this.#running = false
    }
  }

  /**
   * Encodes marks or writes as frames, through as many buffers and chunks as they need; the last frames stay in the buffer. Without
   * extents it writes an empty frame, which the first frame of a new chunk does as well.
   */
  async #appendAll(append: Append, kind: number, extents: StagedExtent[]): Promise<void> {
    for (let index = 0; ;) {
      const open = this.#open
      if (open === undefined || this.#isFull(open) || open.reserved) {
        await this.#roll(append, true)
        // The first frame of a new chunk is an empty one; one that was reserved has none yet.
        if (extents.length === 0 && this.#open !== open) return
        continue
      }
      const taken = this.#encodeFrame(append, open, kind, extents, index)
      if (taken === 0 && extents.length > 0) await this.#makeRoom(append, true)
      index += taken
      if (index >= extents.length) return
    }
  }

  /** Writes down which pages are bad, where a chunk has room for it, or in the reserve. */
  async #appendBad(append: Append): Promise<void> {
    while (this.#bad.length > 0) {
      const open = this.#open
      if (open === undefined || this.#isFull(open) || open.reserved) {
        await this.#roll(append, true)
        continue
      }
      await this.#encodeBad(append, open)
    }
  }

  /** Writes a frame that says which pages are bad, none perhaps, and what is settled. */
  async #encodeBad(append: Append, open: LogChunk): Promise<void> {
    const waiters = this.#badWaiters.splice(0)
    try {
      this.#encodeFrame(append, open, FRAME_KIND.copies, this.#takeBad(), 0)
      await this.#write(append)
      for (const waiter of waiters) waiter.resolve()
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error as Error)
      throw error
    }
  }

  /** Writes pages that the origin refuses again, where there is room for them. */
  async #appendAside(append: Append): Promise<void> {
    while (this.#aside.length > 0) {
      const open = this.#open
      if (open === undefined || this.#isFull(open) || open.reserved) {
        await this.#roll(append, true)
        continue
      }
      await this.#encodeAside(append, open)
    }
  }

  /** Takes them one by one, as what came before may have replaced them. */
  async #encodeAside(append: Append, open: LogChunk): Promise<void> {
    const { page, location, extent, resolve } = this.#aside.shift()!
    let written: SetAside | undefined
    try {
      await this.#write(append)
      const lsn = this.#nextLsn
      if (this.table.find(page) === location) this.#encodeFrame(append, open, FRAME_KIND.writes, [extent], 0)
      const units = this.#nextLsn - lsn
      await this.#write(append)
      written = { lsn, units }
    } finally {
      resolve(written)
    }
  }

  /** The same for copies, which never wait: what finds no room is dropped. */
  async #appendCopies(append: Append, staged: StagedExtent[]): Promise<void> {
    const copies = staged.filter(
      ({ relocated, page }) => relocated === undefined || this.table.find(page) === relocated.location,
    )
    for (let index = 0; index < copies.length;) {
      const open = this.#open
      if (open === undefined || this.#isFull(open) || open.reserved) {
        if (await this.#roll(append, false)) continue
        this.#dropped(copies, index)
        return
      }
      const taken = this.#encodeFrame(append, open, FRAME_KIND.copies, copies, index)
      if (taken === 0 && !(await this.#makeRoom(append, false))) {
        this.#dropped(copies, index)
        return
      }
      index += taken
    }
  }

  #isFull(chunk: LogChunk): boolean {
    return (
      this.#vacated.has(chunk.chunk.deviceIndex) || chunk.room(this.#options.source.chunkBytes, 1) < MINIMUM_ROOM_BYTES
    )
  }

  /** After an extent that did not fit: empties the buffer, or where that is empty already goes on in the next chunk. */
  async #makeRoom(append: Append, wait: boolean): Promise<boolean> {
    if (append.length === 0) return this.#roll(append, wait)
    await this.#write(append)
    return true
  }

  /** Copies that found no room: relocated pages are evicted with their chunk, fills are forgotten. */
  #dropped(extents: readonly StagedExtent[], from: number): void {
    for (let index = from; index < extents.length; index++) {
      const { relocated, page } = extents[index]!
      if (relocated === undefined || this.table.find(page) !== relocated.location) continue
      this.#forget(page)
      this.#options.counters.evictions++
    }
  }

  /**
   * Encodes one frame with as many extents as fit, from `extents[from]` on; returns how many it took, 0 where not even one fits now. A part of
   * an extent is taken by splitting it in place.
   */
  #encodeFrame(append: Append, open: LogChunk, kind: number, extents: StagedExtent[], from: number): number {
    const { source, identity, epoch, clock } = this.#options
    const block = open.chunk.device.logicalBlockBytes
    const { taken, headerBytes, sectors, checksums } = fitFrame(extents, from, {
      bytes: Math.min(
        append.buffer.length - append.length,
        source.chunkBytes - open.writtenOffset - summaryBytes(open.columns.count, block),
      ),
      entries: open.columns.count,
      maximumEntries: this.entriesPerChunk,
      blockBytes: block,
    })
    if (taken === 0 && extents.length > 0) return 0

    const isWrite = kind === FRAME_KIND.writes
    const { buffer } = append
    const at = append.begin(open)
    const dataOffset = frameDataOffset(headerBytes)
    const frameBytes = roundUp(dataOffset + sectors * SECTOR_BYTES, block)
    buffer.fill(0, at + headerBytes, at + dataOffset)
    buffer.fill(0, at + dataOffset + sectors * SECTOR_BYTES, at + frameBytes)
    let dataAt = at + dataOffset
    let checksumIndex = 0
    for (let index = 0; index < taken; index++) {
      const extent = extents[from + index]!
      encodeExtent(buffer, extentOffset(at, index), extent.kind, extent.page, extent.count, extent.sectorMap)
      if (extent.kind !== EXTENT_KIND.data) {
        open.columns.add(extent.page, extent.count, 0, 0, extent.kind, isWrite)
        this.#noteRegions(extent)
        continue
      }
      buffer.set(extent.data, dataAt)
      const pageBytes = sectorCount(extent.sectorMap) * SECTOR_BYTES
      for (let page = extent.page; page < extent.page + extent.count; page++) {
        const checksum = extent.relocated?.checksum ?? checksumOf(buffer, dataAt, dataAt + pageBytes)
        buffer.writeUInt32LE(checksum, pageChecksumOffset(at, taken, checksumIndex++))
        const unit = (open.writtenOffset + dataAt - at) / SECTOR_BYTES
        open.columns.add(page, checksum, unit, extent.sectorMap, extent.relocated?.heat ?? this.#heatOf(page), isWrite)
        dataAt += pageBytes
      }
    }
    const lsnUnits = isWrite ? lsnUnitsOf(headerBytes, sectors) : 0
    const sums = encodeFrameHeaders(
      buffer,
      at,
      {
        kind,
        stream: 0,
        headerBytes,
        frameBytes,
        generation: open.generation,
        session: this.#session,
        frame: this.#nextFrame,
        stableFrame: this.#stableFrame,
        floor: 0,
        previousChecksum: this.#lastFrameChecksum,
      },
      {
        kind,
        flags: this.#flags | (this.isWriteBack ? FRAME_FLAG.writeBack : 0),
        extentCount: taken,
        checksumCount: checksums,
        dataSectors: sectors,
        lsnUnits,
        previousWriteChecksum: this.#lastWriteChecksum,
        logId: identity.logId,
        epoch,
        lsn: this.#nextLsn,
        settledLsn: this.#settledLsn,
        writtenAt: clock.now(),
      },
    )
    this.#flags = 0
    this.#loggedSettledLsn = this.#settledLsn
    this.#lastFrameChecksum = sums.localChecksum
    if (isWrite) this.#lastWriteChecksum = sums.portableChecksum
    this.#nextFrame++
    this.#nextLsn += lsnUnits
    open.writtenOffset += frameBytes
    open.nextFrame = this.#nextFrame
    open.nextLsn = this.#nextLsn
    open.settledLsn = this.#settledLsn
    open.isWriteBack = this.isWriteBack
    open.lastFrameChecksum = this.#lastFrameChecksum
    open.lastWriteChecksum = this.#lastWriteChecksum
    append.length += frameBytes
    return taken
  }

  #heatOf(page: number): number {
    const location = this.table.find(page)
    if (location === NOWHERE) return this.replacement.inserted(page)
    return this.replacement.hit(this.#columnsAt(location).heat[location % this.entriesPerChunk]!)
  }

  #noteRegions(extent: StagedExtent): void {
    if (extent.kind !== EXTENT_KIND.touched && extent.kind !== EXTENT_KIND.quiet) return
    for (let page = extent.page; page < extent.page + extent.count; page += PAGES_PER_REGION) {
      const region = page / PAGES_PER_REGION
      if (extent.kind === EXTENT_KIND.touched) this.#loggedRegions.add(region)
      else this.#loggedRegions.delete(region)
    }
  }

  /**
   * Hands the buffer to the device; when that ended, its entries are what a read finds. A log that has failed meanwhile, perhaps on another
   * device, has been left: nobody may be told that something is in it.
   */
  #write(append: Append): Promise<void> | undefined {
    if (append.length === 0) return undefined
    this.#refuseFailed()
    const { target, length, targetOffset } = append
    assert(target !== undefined, 'a filled buffer has a chunk')
    const { device, offset } = target.chunk
    const written = device.write(offset + targetOffset, append.buffer.subarray(0, length))
    this.#options.counters.deviceWrittenBytes += length
    append.reset()
    if (written === undefined) {
      this.#publish(target)
      return undefined
    }
    return written.then(() => {
      this.#refuseFailed()
      this.#publish(target)
    })
  }

  #refuseFailed(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  #publish(chunk: LogChunk): void {
    const { columns } = chunk
    const { diskBytes, phase } = this.identity
    chunk.deviceOffset = chunk.writtenOffset
    this.#writtenFrame = chunk.nextFrame
    this.#writtenLsn = chunk.nextLsn
    this.#writtenSettledLsn = chunk.settledLsn
    for (; chunk.published < columns.count; chunk.published++) {
      const ordinal = chunk.published
      if (columns.sectorMap[ordinal] === 0) {
        const kind = columns.heat[ordinal]!
        const isZero = kind === EXTENT_KIND.zero || kind === EXTENT_KIND.trim
        if (isZero || kind === EXTENT_KIND.invalid) {
          this.forgetRange(columns.page[ordinal]!, columns.checksum[ordinal]!)
          for (const page of this.badPages)
            if (page >= columns.page[ordinal]! && page < columns.page[ordinal]! + columns.checksum[ordinal]!)
              this.badPages.delete(page)
        }
        if (kind === EXTENT_KIND.bad) this.#publishBad(columns.page[ordinal]!, columns.checksum[ordinal]!)
        if (isZero && this.isWriteBack)
          this.zeroRanges.add(columns.page[ordinal]!, columns.checksum[ordinal]!, chunk.nextLsn)
        continue
      }
      const page = columns.page[ordinal]!
      this.#place(page, chunk, ordinal)
      if (this.badPages.size > 0 && columns.sectorMap[ordinal] === sectorsOnDisk(page, diskBytes, phase))
        this.badPages.delete(page)
    }
    if (this.#settledWaiters.length > 0 && this.#writtenSettledLsn === this.#settledLsn)
      for (const waiter of this.#settledWaiters.splice(0)) waiter.resolve()
  }

  /** The list of a new chunk repeats what is known. */
  #publishBad(page: number, count: number): void {
    for (let each = page; each < page + count; each++) {
      if (this.badPages.has(each)) continue
      this.forgetRange(each, 1)
      this.badPages.add(each)
    }
  }

  #place(page: number, chunk: LogChunk, ordinal: number): void {
    const before = this.table.set(page, chunk.slot * this.entriesPerChunk + ordinal)
    chunk.livePages++
    if (before !== NOWHERE) this.#chunkAt(before).livePages--
    this.follower?.placed(chunk, ordinal)
  }

  /** For recovery: puts a page where an adopted chunk has it unless a newer version is known. */
  placeIfAbsent(page: number, chunk: LogChunk, ordinal: number): boolean {
    if (this.table.find(page) !== NOWHERE) return false
    this.#place(page, chunk, ordinal)
    return true
  }

  /** For recovery: takes up what the table was filled with of an adopted chunk. */
  adoptPlaced(chunk: LogChunk): void {
    const { columns, slot } = chunk
    const first = slot * this.entriesPerChunk
    for (let ordinal = 0; ordinal < columns.count; ordinal++) {
      if (!this.table.holds(first + ordinal)) continue
      chunk.livePages++
      columns.heat[ordinal] = this.replacement.inserted(columns.page[ordinal]!)
    }
  }

  #forget(page: number): void {
    const location = this.table.delete(page)
    if (location !== NOWHERE) this.#chunkAt(location).livePages--
  }

  /** Drops a page that the device has not got any more, and that the origin has. */
  forgetBad(page: number): void {
    this.forgetRange(page, 1)
    this.zeroRanges.remove(page)
  }

  /** Drops pages from the index alone; whoever calls it has the reason on the log, or needs none. */
  forgetRange(page: number, count: number): void {
    this.onForgotten?.(page, count)
    this.follower?.forgotten(page, count)
    if (count <= this.table.size) {
      for (let index = 0; index < count; index++) this.#forget(page + index)
      return
    }
    for (const chunk of this.#chunks) {
      const { columns, slot } = chunk
      for (let ordinal = 0; ordinal < chunk.published && chunk.livePages > 0; ordinal++) {
        const candidate = columns.page[ordinal]!
        if (columns.sectorMap[ordinal] === 0 || candidate < page || candidate >= page + count) continue
        if (this.table.find(candidate) === slot * this.entriesPerChunk + ordinal) this.#forget(candidate)
      }
    }
  }

  #chunkAt(location: number): LogChunk {
    return this.slots[(location / this.entriesPerChunk) | 0]!
  }

  #columnsAt(location: number): LogChunk['columns'] {
    return this.#chunkAt(location).columns
  }

  /** The index of all adopted chunks is known. */
  endLoad(): void {
    this.onForgotten = undefined
    this.#wakeChunkWait?.()
  }

  // -------------------------------------------------------------------------------------------------- chunk by chunk

  /**
   * Opens the next chunk. Where none is to be had, `wait` says whether to wait for one (copies that arrive meanwhile are
   * dropped, so that a reclaim under way can end); returns false where it did not wait.
   */
  async #roll(append: Append, wait: boolean): Promise<boolean> {
    await this.#write(append)
    const full = this.#open
    if (full !== undefined && !full.reserved) {
      this.#open = undefined
      this.#seal(full)
    }
    while (this.#sealing.size >= MAXIMUM_UNSEALED_CHUNKS - 1) await Promise.race(this.#sealing)
    const { clock } = this.#options
    const waitsUntil = this.#chunks.length === 0 ? clock.monotonic() + FIRST_CHUNK_MILLISECONDS : Infinity
    for (;;) {
      this.#refuseFailed()
      if (clock.monotonic() >= waitsUntil) throw this.#noChunk()
      if (this.#open?.reserved === true) {
        if (this.#fillReserve()) {
          this.#open.reserved = false
          return true
        }
      } else {
        const chunk = this.#take()
        if (chunk !== undefined) {
          this.#openChunk(append, chunk)
          // Ahead of need: the room for what stays hot is in the chunk that was just opened.
          this.#reclaimIfLast()
          return true
        }
      }
      if (this.#isLast) this.onStarved?.()
      if (!wait) {
        this.#reclaimIfLast()
        return false
      }
      await this.#waitForChunk(append)
    }
  }

  /** There is no other way to another chunk than to reclaim one; a source that has to ask does not say so. */
  get #isLast(): boolean {
    return this.#options.source.exhausted || this.chunkCount >= this.maximumChunks
  }

  /** Reclaims where there is no other way to another chunk; where the source does not know yet, when it knows. */
  #reclaimIfLast(): void {
    const { source } = this.#options
    if (this.#isLast) this.reclaim()
    else if (!this.#watching) {
      this.#watching = true
      source.whenChanged(() => {
        this.#watching = false
        if (!source.exhausted) return
        this.onStarved?.()
        this.reclaim()
      })
    }
  }

  #take(): Chunk | undefined {
    if (!this.isWriteBack || this.#beginning) return this.#takeAny()
    return this.#fillReserve() ? this.#takeAny() : undefined
  }

  /** Returns whether the reserve is whole. */
  #fillReserve(): boolean {
    return this.#reserve.fill(() => this.#takeAny())
  }

  #takeAny(): Chunk | undefined {
    // A dirty log may be as long as it may get: what recovery says of it must find room.
    if (this.chunkCount >= this.maximumChunks && !(this.isWriteBack && this.#beginning)) return undefined
    return this.#options.source.take(this.#chunks.at(-1)?.chunk.deviceIndex)
  }

  /** Ends when a chunk may be had, or something else has changed. */
  async #waitForChunk(append: Append): Promise<void> {
    if (this.#wantsReserve) await this.#appendToReserve(append)
    // Meanwhile more may have come, which nobody would hear of.
    if (this.#wantsReserve) return
    this.#dropped(this.#copies.splice(0), 0)
    for (const resolve of [...this.#currentCopyWaiters.splice(0), ...this.#copyWaiters.splice(0)]) resolve()
    const { source, clock } = this.#options
    const changed = new Promise<void>((resolve) => {
      this.#wakeChunkWait = resolve
      source.whenChanged(resolve)
    })
    const endWait = this.#chunks.length === 0 ? clock.after(FIRST_CHUNK_MILLISECONDS, this.#wakeChunkWait!) : undefined
    this.#reclaimIfLast()
    await changed
    endWait?.()
    this.#wakeChunkWait = undefined
  }

  #noChunk(): VmcacheError {
    return new VmcacheError('NO_SPACE', `no chunk became free for the log of disk ${this.identity.diskName}`, {
      hint: 'give the cache more room, or detach a disk, or wait until dirty data is at its origin',
    })
  }

  /** Whether something waits that may be written to the reserve. */
  get #wantsReserve(): boolean {
    return this.#settledWaiters.length > 0 || this.#bad.length > 0 || this.#aside.length > 0
  }

  /** Writes a frame that says what is settled where nothing else may be written, and what the origin refuses, as far as there is room. */
  async #appendToReserve(append: Append): Promise<void> {
    if (this.#open === undefined) {
      const reserve = this.#reserve.take()
      assert(reserve !== undefined, 'a write-back log that waits for a chunk has its reserve')
      this.#openChunk(append, reserve).reserved = true
    }
    const open = this.#open!
    while (this.#aside.length > 0 && this.#hasRoomForRefused(open)) await this.#encodeAside(append, open)
    for (const { resolve } of this.#aside.splice(0)) resolve(undefined)
    // What found no room is tried again and again: that must not take any.
    if (!this.#wantsReserve) return
    // Each write frame of the oldest chunk needs one of these at most, and is no smaller.
    assert(
      open.room(this.#options.source.chunkBytes, 0) >= MINIMUM_FRAME_BYTES,
      'what is settled fits into the reserve',
    )
    await this.#encodeBad(append, open)
  }

  /** Whether a page may be written to the reserve: all frames that say what is settled of the oldest chunk fit behind it. */
  #hasRoomForRefused(open: LogChunk): boolean {
    const oldest = this.#chunks.find(({ nextLsn }) => nextLsn > this.#settledLsn)
    if (!this.#reserve.sparesRefused || oldest === undefined) return false
    const frames = oldest.nextFrame - oldest.firstFrame
    // The page's own frame takes up to three, and one more says what is settled at last.
    return open.room(this.#options.source.chunkBytes, 1) >= (frames + 4) * MINIMUM_FRAME_BYTES
  }

  #openChunk(append: Append, chunk: Chunk): LogChunk {
    const { identity, source, epoch, bootId, clock } = this.#options
    const generation = ++chunk.generation
    const slot = this.#freeSlot()
    const open = new LogChunk(
      chunk,
      generation,
      slot,
      this.#nextSequence++,
      this.#session,
      this.#nextFrame,
      this.#nextLsn,
    )
    this.slots[slot] = open
    this.#chunks.push(open)
    this.#open = open
    this.replacement.resized(this.#chunks.length * this.pagesPerChunk)
    encodeChunkHeader(append.buffer, append.begin(open, 0), {
      kind: CHUNK_KIND.log,
      phase: identity.phase,
      level: 0,
      stream: 0,
      flags: this.isWriteBack ? CHUNK_FLAG.writeBack : 0,
      cacheId: source.cacheId,
      generation,
      logId: identity.logId,
      sequence: open.sequence,
      session: this.#session,
      sessionStart: this.#sessionStart,
      firstFrame: this.#nextFrame,
      firstLsn: this.#nextLsn,
      previousFrameChecksum: this.#lastFrameChecksum,
      previousWriteChecksum: this.#lastWriteChecksum,
      settledLsn: this.#settledLsn,
      stableFrame: this.#stableFrame,
      floor: 0,
      epoch,
      createdAt: clock.now(),
      bootId,
      diskBytes: identity.diskBytes,
      diskName: identity.diskName,
      origin: identity.origin,
    })
    append.length = CHUNK_HEADER_BYTES
    const ranges = joinClosest(regionRanges([...this.#loggedRegions]), this.entriesPerChunk * MAXIMUM_RANGES)
    const marks = ranges.map(({ page, count }) => markExtent(EXTENT_KIND.touched, page, count))
    for (const page of this.badPages) marks.push(markExtent(EXTENT_KIND.bad, page, 1))
    const taken = this.#encodeFrame(append, open, FRAME_KIND.copies, marks, 0)
    assert(taken === marks.length, 'a new chunk has room for its snapshot')
    return open
  }

  #freeSlot(): number {
    const free = this.slots.indexOf(undefined)
    const slot = free === -1 ? this.slots.length : free
    assert((slot + 1) * this.entriesPerChunk < NOWHERE, 'a log has at most 2^32 entries')
    return slot
  }

  #seal(chunk: LogChunk): void {
    chunk.state = 'sealing'
    const sealing = this.#sealNow(chunk)
      .catch((error: unknown) => this.#fail(error as Error))
      .finally(() => {
        this.#sealing.delete(sealing)
        this.#wakeChunkWait?.()
      })
    this.#sealing.add(sealing)
  }

  async #sealNow(chunk: LogChunk): Promise<void> {
    await this.commit()
    const { source, identity, clock, counters } = this.#options
    const buffer = alignedBuffer(APPEND_BUFFER_BYTES)
    try {
      const { offset, bytes } = encodeSummary(
        chunk,
        identity.logId,
        source.chunkBytes,
        this.#settledLsn,
        clock.now(),
        buffer,
      )
      await chunk.chunk.device.write(chunk.chunk.offset + offset, bytes)
      counters.deviceWrittenBytes += bytes.length
      chunk.columns.trim()
      chunk.state = 'sealed'
    } finally {
      releaseAligned(buffer)
    }
  }

  // ------------------------------------------------------------------------------------------- devices that are removed

  /**
   * Appends nothing more to a device and gives back its chunks, with those that are older, as far as that is possible now; returns how many
   * the log still has there. To be called until it has none, as sealing and settling take their time. The source has no free chunk of the
   * device.
   */
  async vacate(deviceIndex: number): Promise<number> {
    const { source } = this.#options
    this.#vacated.add(deviceIndex)
    const isThere = ({ chunk }: LogChunk): boolean => chunk.deviceIndex === deviceIndex
    // Whatever the log may have: the next chunk that it gives back is one too many.
    for (const chunk of this.#reserve.leave(deviceIndex, () => source.take(undefined))) source.give(chunk)
    // An empty frame: what is open is full from now on.
    if (this.#open !== undefined && isThere(this.#open) && this.#failure === undefined) {
      this.#markSettled = true
      this.#schedule()
    }
    if (this.#chunks.some(isThere)) await this.shrink(this.chunkCount - 1)
    return this.#chunks.filter(isThere).length + this.#reserve.countOn(deviceIndex)
  }

  /** The device stays: it may be appended to again. */
  readmit(deviceIndex: number): void {
    this.#vacated.delete(deviceIndex)
  }

  // --------------------------------------------------------------------------------------------------------- reclaim

  /** Begins to give back the oldest chunk where that is possible now. */
  reclaim(): void {
    // Who waits for a chunk hears of it from the source; where nothing could be reclaimed, from what stood in the way.
    this.#reclaiming ??= this.#reclaimOldest()
      .then(
        (isReclaimed) => isReclaimed,
        (error: unknown) => {
          this.#fail(error as Error)
          return false
        },
      )
      .then((isReclaimed) => {
        this.#reclaiming = undefined
        // The chunk may have become the reserve: whoever waits needs another one.
        if (isReclaimed) this.#wakeChunkWait?.()
      })
  }

  /** Gives back chunks until at most `count` are left, or none can be given back now. */
  async shrink(count: number): Promise<void> {
    while (this.chunkCount > Math.max(count, 1) && this.#failure === undefined) {
      const before = this.chunkCount
      this.reclaim()
      await this.#reclaiming
      if (this.chunkCount >= before) return
    }
  }

  /** Returns whether a chunk was given back. */
  async #reclaimOldest(): Promise<boolean> {
    const oldest = this.#chunks[0]
    if (oldest === undefined || oldest.state !== 'sealed' || oldest.nextLsn > this.#settledLsn) return false
    if (this.onForgotten !== undefined) {
      // While the index is loaded nothing of the oldest chunk is known yet, so nothing of it is kept: no newer version can be in it.
      if (oldest.livePages > 0) return false
      this.#chunks.shift()
      await this.#free(oldest)
      return true
    }
    const { columns, slot } = oldest
    const { counters } = this.#options
    this.replacement.reclaiming?.(oldest.livePages, columns.count, this.#vacated.size > 0)
    const first = slot * this.entriesPerChunk
    const mostKept = Math.floor(this.pagesPerChunk * MAXIMUM_KEPT)
    let kept = 0
    for (let ordinal = 0; ordinal < columns.count && oldest.livePages > 0; ordinal++) {
      if (ordinal % RECLAIM_SLICE_PAGES === RECLAIM_SLICE_PAGES - 1) {
        await new Promise<void>((resolve) => this.#options.defer(resolve))
        if (this.#failure !== undefined) return false
      }
      const page = columns.page[ordinal]!
      if (columns.sectorMap[ordinal] === 0 || this.table.find(page) !== first + ordinal) continue
      const heat = this.replacement.reclaimed(page, columns.heat[ordinal]!)
      if (heat === -1 || kept >= mostKept) {
        this.#forget(page)
        counters.evictions++
        continue
      }
      const data = await this.readEntry(oldest, ordinal)
      if (data === undefined) {
        this.#forget(page)
        continue
      }
      kept++
      counters.reinsertions++
      counters.relocatedBytes += data.length
      const extent = dataExtent(page, 1, columns.sectorMap[ordinal]!, data)
      this.stageCopy({
        ...extent,
        relocated: { checksum: columns.checksum[ordinal]!, heat, location: first + ordinal },
      })
      if (kept % RECLAIM_SLICE_PAGES === 0) await this.#copied()
    }
    await this.#copied()
    for (let ordinal = 0; ordinal < columns.count && oldest.livePages > 0; ordinal++) {
      const page = columns.page[ordinal]!
      if (columns.sectorMap[ordinal] !== 0 && this.table.find(page) === first + ordinal) this.#forget(page)
    }
    if (this.#failure !== undefined) return false
    assert(
      this.#chunks[0] === oldest && oldest.livePages === 0,
      'only the oldest chunk is given back, and only when it is empty',
    )
    this.#chunks.shift()
    await this.#free(oldest)
    return true
  }

  /** The stored sectors of an entry, verified; undefined where the device has something else there. */
  readEntry(chunk: LogChunk, ordinal: number): Promise<Buffer | undefined> {
    return readEntry(chunk, ordinal, this.#options.counters)
  }

  #copied(): Promise<void> {
    if (this.#failure !== undefined || (!this.#running && this.#copies.length === 0)) return Promise.resolve()
    return new Promise((resolve) => {
      this.#copyWaiters.push(resolve)
      this.#wakeChunkWait?.()
    })
  }

  /** Puts a free header on stable storage and gives the chunk back; nobody reads it any more then. */
  async #free(chunk: LogChunk): Promise<void> {
    this.slots[chunk.slot] = undefined
    this.follower?.leaving(chunk)
    if (chunk.readers > 0) await chunk.idle()
    await this.giveBack(chunk.chunk)
  }

  /** Puts a free header on a chunk that is no part of the log any more, and keeps it back or gives it away. */
  async giveBack(chunk: Chunk): Promise<void> {
    const { source, clock } = this.#options
    await writeFreeHeader(chunk, source.cacheId, clock.now())
    if (this.isWriteBack && !this.#reserve.isWhole && this.#failure === undefined) {
      this.#reserve.add(chunk)
      this.#wakeChunkWait?.()
    } else source.give(chunk)
  }

  /** Gives the reserve back; for a log that is closed, or not in write-back any more. */
  #giveReserve(): void {
    for (const chunk of this.#reserve.empty()) this.#options.source.give(chunk)
  }

  // --------------------------------------------------------------------------------------------- commit and settling

  /** Ends when every frame that was written before is on stable storage. Calls share syncs. */
  commit(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#committing === undefined) {
      return (this.#committing = this.#commitNow().finally(() => (this.#committing = undefined)))
    }
    this.#nextCommit ??= this.#committing
      .catch(() => undefined)
      .then(() => {
        this.#nextCommit = undefined
        return this.commit()
      })
    return this.#nextCommit
  }

  async #commitNow(): Promise<void> {
    const writtenFrame = this.#writtenFrame
    const writtenLsn = this.#writtenLsn
    const writtenSettledLsn = this.#writtenSettledLsn
    const byDevice = new Map<Device, ByteRange[]>()
    const reached: [LogChunk, number][] = []
    for (let index = this.#chunks.length - 1; index >= 0; index--) {
      const chunk = this.#chunks[index]!
      // A commit before its summary covered it, and all that is older.
      if (chunk.state === 'sealed') break
      const { stableOffset, deviceOffset } = chunk
      if (stableOffset >= deviceOffset) continue
      const { device, offset } = chunk.chunk
      appendTo(byDevice, device, { offset: offset + stableOffset, length: deviceOffset - stableOffset })
      reached.push([chunk, deviceOffset])
    }
    try {
      await Promise.all([...byDevice].map(([device, ranges]) => device.commit(ranges)))
    } catch (error) {
      this.#fail(error as Error)
      throw error
    }
    for (const [chunk, offset] of reached) chunk.stableOffset = offset
    this.#stableFrame = Math.max(this.#stableFrame, writtenFrame)
    this.#stableLsn = Math.max(this.#stableLsn, writtenLsn)
    this.#stableSettledLsn = Math.max(this.#stableSettledLsn, writtenSettledLsn)
  }

  /** Write-back: the origin has, and has flushed, all write frames below `lsn`; the next begins at `offset` of its chunk. */
  settle(lsn: number, offset: number): void {
    assert(lsn >= this.#settledLsn && lsn <= this.#stableLsn, 'what is settled is stable')
    this.#settledLsn = lsn
    this.#settledOffset = offset
    this.zeroRanges.settle(lsn)
    this.#wakeChunkWait?.()
  }

  /** Ends when stable storage says of the log what is settled. */
  async recordSettled(): Promise<void> {
    this.#refuseFailed()
    if (this.#writtenSettledLsn !== this.#settledLsn) {
      const recorded = new Promise<void>((resolve, reject) => this.#settledWaiters.push({ resolve, reject }))
      this.#markSettled = true
      this.#schedule()
      await recorded
    }
    if (this.#stableSettledLsn !== this.#settledLsn) await this.commit()
  }

  /** Whether the origin may lack the entry at a location. */
  isDirty(location: number): boolean {
    if (!this.isWriteBack) return false
    const chunk = this.#chunkAt(location)
    if (chunk.nextLsn <= this.#settledLsn) return false
    const ordinal = location % this.entriesPerChunk
    if (!chunk.columns.isWrite(ordinal)) return false
    return chunk.firstLsn >= this.#settledLsn || chunk.columns.unit[ordinal]! * SECTOR_BYTES >= this.#settledOffset
  }

  readonly #advanceSettled = (): void => {
    if (this.isWriteBack) return
    while (this.#unsettled.length > 0 && this.#unsettled[0]!.settled) this.#unsettled.shift()
    this.#settledLsn = this.#unsettled[0]?.firstLsn ?? this.#nextLsn
    this.#wakeChunkWait?.()
  }

  /**
   * Begins the session: writes down what the recovery before it dropped, on stable storage. Nothing may be answered before it ended.
   */
  async begin(
    invalid: readonly { readonly page: number; readonly count: number }[],
    bad: readonly number[] = [],
  ): Promise<void> {
    for (const { page, count } of joinClosest(inOrder(invalid), this.entriesPerChunk * MAXIMUM_RANGES)) {
      this.stageMark(markExtent(EXTENT_KIND.invalid, page, count))
    }
    // Behind what is invalid: a page that was lost is not read from the origin, whatever else was dropped of it.
    for (const page of bad) this.stageMark(markExtent(EXTENT_KIND.bad, page, 1))
    this.#beginning = true
    await this.appended()
    await this.#appendFlag(FRAME_FLAG.sessionBegun)
    this.#beginning = false
    assert(
      this.#nextSequence === this.#sessionStart + 1,
      'a session begins in one chunk, by which recovery knows that it began',
    )
    await this.commit()
  }

  /** For recovery: a log in write-back keeps chunks back from its beginning on; until it has them, what is left of the open one. */
  keepReserve(): void {
    if (this.isWriteBack && !this.#fillReserve() && this.#open !== undefined) this.#open.reserved = true
  }

  /** Appends an empty frame with a flag. */
  async #appendFlag(flag: number): Promise<void> {
    this.#flags |= flag
    this.#markSettled = true
    this.#schedule()
    await this.appended()
  }

  /** Regions that are marked as touched by what the log holds. */
  get touchedRegions(): Iterable<number> {
    return this.#loggedRegions
  }

  /** For recovery, before the session begins: regions that stay touched. */
  resumeTouched(ranges: readonly { readonly page: number; readonly count: number }[]): void {
    for (const { page, count } of ranges) this.#noteRegions(markExtent(EXTENT_KIND.touched, page, count))
  }

  /**
   * Goes over to write-back, or back from it, while nothing is written. Everything is settled. The headers of the chunks say so: what may be dirty
   * is in chunks of its own. NO_SPACE where there are too few chunks that could be kept back.
   */
  async setWriteBack(isWriteBack: boolean): Promise<void> {
    if (isWriteBack && !(await this.#findReserve())) {
      throw new VmcacheError(
        'NO_SPACE',
        `the log of disk ${this.identity.diskName} has not ${RESERVE_CHUNKS} chunks to keep back`,
        {
          hint: 'give the disk a larger minimum, or the cache more room',
        },
      )
    }
    while (this.#running || this.#hasStaged()) await this.appended()
    this.#refuseFailed()
    assert(this.#settledLsn === this.#nextLsn, 'a log changes its mode when all of it is settled')
    this.isWriteBack = isWriteBack
    if (!isWriteBack) {
      // Nothing is kept back any more, neither a chunk nor what is left of one.
      if (this.#open !== undefined) this.#open.reserved = false
      return this.#giveReserve()
    }
    const open = this.#open
    this.#open = undefined
    if (open !== undefined) this.#seal(open)
    this.#settledOffset = 0
    await this.recordSettled()
  }

  /** Takes the reserve, from what is free or from the oldest chunks; returns whether it is whole. */
  async #findReserve(): Promise<boolean> {
    for (;;) {
      if (this.#fillReserve()) return true
      this.#refuseFailed()
      const { source } = this.#options
      if (!source.exhausted && this.chunkCount < this.maximumChunks) {
        await Promise.race([this.#failed, new Promise<void>((resolve) => source.whenChanged(resolve))])
        continue
      }
      const before = this.#chunks.length
      this.reclaim()
      await this.#reclaiming
      if (this.#chunks.length < before) continue
      if (this.#sealing.size > 0) await Promise.race(this.#sealing)
      else if (this.onForgotten !== undefined) await new Promise<void>((resolve) => this.#options.defer(resolve))
      else return false
    }
  }

  /** Marks the log as cleanly closed: the origin has and has flushed everything, and so has the log. */
  async close(): Promise<void> {
    await this.appended()
    assert(
      this.#unsettled.length === 0 && this.#settledLsn === this.#nextLsn,
      'a log is closed when all of it is settled',
    )
    if (this.#open !== undefined) {
      for (const { page, count } of regionRanges([...this.#loggedRegions])) {
        this.stageMark(markExtent(EXTENT_KIND.quiet, page, count))
      }
      await this.appended()
      // The closing frame names all before it as stable, so that damage to them is told apart from the end of the log.
      await this.commit()
      await this.#appendFlag(FRAME_FLAG.closed)
      await this.commit()
    }
    await this.#stop()
  }

  /** Puts all of it on stable storage and stops, with what the origin lacks in it. */
  async closeDirty(): Promise<void> {
    await this.appended()
    await this.commit()
    await this.#stop()
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#sealing)
    await this.#reclaiming
    this.#fail(new Error('the log is closed'))
    this.#giveReserve()
  }

  /** Gives back every chunk: the log is gone. */
  async destroy(): Promise<void> {
    this.#fail(new Error('the log was given back'))
    await this.#appending
    await this.#reclaiming
    await Promise.all(this.#sealing)
    this.#giveReserve()
    this.table.clear()
    for (const chunk of this.#chunks.splice(0)) await this.#free(chunk)
  }

  /** Stops without any further write; for a log whose devices are gone. */
  abandon(): void {
    this.#fail(new Error('the log was abandoned'))
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#resolveFailed()
    this.#batch?.fail(error)
    this.#batch = undefined
    this.#writes = []
    this.#marks = []
    this.#copies = []
    const waiting = [this.#appendWaiters, this.#settledWaiters, this.#badWaiters].flatMap((waiters) =>
      waiters.splice(0),
    )
    for (const waiter of waiting) waiter.reject(error)
    this.#bad = []
    for (const { resolve } of this.#aside.splice(0)) resolve(undefined)
    for (const resolve of [...this.#currentCopyWaiters.splice(0), ...this.#copyWaiters.splice(0)]) resolve()
    this.#wakeChunkWait?.()
    this.#options.onFailed(error)
  }
}

function overlapsAny(extents: readonly StagedExtent[], first: number, last: number): boolean {
  for (const { page, count } of extents) if (page <= last && first < page + count) return true
  return false
}
