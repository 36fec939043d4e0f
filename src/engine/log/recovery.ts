/**
 * Recovery of a log: from the chunk headers that carry its id to a log that may answer requests. The whole argument is in
 * vmcache-recovery(7); in short:
 *
 * 1. *Order.* Chunks of a log are numbered without gaps. The newest session that had begun counts from its start on, the one before below that,
 *    and so on; what an older session has at or above a newer session's start was dropped by an earlier recovery.
 * 2. *Prefix.* A sealed chunk is proven by its summary. An unsealed one is scanned, data included. The first frame that does not verify or does
 *    not follow ends the log there, unless something behind it shows that it had been stable: then it is *damage*, and the log goes
 *    on behind it without any page that is older.
 * 3. *Drop*, by the table below.
 * 4. *Commit point.* What is unsealed is synced and sealed, what is no part of the log is freed, and a new session begins in a new chunk whose
 *    first frames say what was dropped; when the last of them (`sessionBegun`) is on stable storage the recovery counts. A crash before
 *    that leaves the next recovery with the same decisions to take.
 *
 * | newest frame | boot is the same | pages that are dropped |
 * | --- | --- | --- |
 * | closed | any | none |
 * | not closed | yes | those of write frames at or above `settledLsn`; touched regions stay touched |
 * | not closed | no | the same, and those in touched regions |
 * | write-back, not closed | any | none: what is at or above `settledLsn` is dirty |
 * | any, behind damage | any | the same, and all that are older than the damage; where the origin lacks something of that, the disk waits |
 */
import { checksumOf } from '../../base/checksum.js'
import { CHUNK_HEADER_BYTES, type ChunkHeader } from '../../format/chunk-header.js'
import {
  EXTENT_KIND,
  FRAME_FLAG,
  FRAME_KIND,
  decodeFrame,
  frameDataOffset,
  roundUp,
  sectorCount,
  type DecodedFrame,
} from '../../format/frame.js'
import {
  SUMMARY_ENTRY_BYTES,
  SUMMARY_FLAG,
  TRAILER_BYTES,
  decodeSummaryTrailer,
  summaryBytes,
  type SummaryTrailer,
} from '../../format/summary.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { ChunkColumns } from '../index/chunk-columns.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Chunk } from './chunk-source.js'
import type { PageRange } from './page-ranges.js'
import { sectorsOnDisk } from './page-sectors.js'
import { PAGES_PER_REGION, regionRanges } from './touched-regions.js'

/** A chunk whose header carries the log's id. */
export interface FoundChunk {
  readonly chunk: Chunk
  readonly header: ChunkHeader
}

/** A chunk of the log as recovery understood it. */
export interface RecoveredChunk {
  readonly found: FoundChunk
  /** Whether its summary proves it; else `columns` hold what was scanned, and it is to be sealed. */
  readonly sealed: boolean
  readonly columns: ChunkColumns
  readonly endOffset: number
  readonly nextFrame: number
  readonly nextLsn: number
  readonly lastFrameChecksum: number
  readonly lastWriteChecksum: number
  /** What the log said at the end of this chunk. */
  readonly state: LogState
}

interface LogState {
  readonly settledLsn: number
  readonly epoch: number
  readonly lastWrittenAt: number
  readonly closed: boolean
  readonly isWriteBack: boolean
}

/** What recovery decided; nothing has been written yet. */
export interface RecoveryPlan {
  /** The log's chunks, oldest first. */
  readonly chunks: readonly RecoveredChunk[]
  /** Chunks that carry the log's id and are no part of it; freed before the first answer. */
  readonly dropped: readonly FoundChunk[]
  /** Its newest chunks where they have nothing but what a new session says again; freed once that has begun. */
  readonly superseded: readonly RecoveredChunk[]
  /** Pages of which nothing that the log has may be served. */
  readonly invalid: readonly PageRange[]
  /** Regions that go on being touched: after a kill the origin may still lose what was written to them. */
  readonly touched: readonly PageRange[]
  /** Pages of which a write was lost before the origin had it. */
  readonly bad: readonly number[]
  /** Highest session that any chunk names. */
  readonly newestSession: number
  readonly nextSequence: number
  readonly settledLsn: number
  readonly epoch: number
  /** When the newest frame was written (milliseconds since 1970); 0 where there is none. */
  readonly lastWrittenAt: number
  readonly end: 'empty' | 'closed' | 'killed' | 'power-cut'
  /** Places where frames that had been stable cannot be read. */
  readonly damages: number
  /** The log was in write-back: what is at or above `settledLsn` the origin lacks. */
  readonly isWriteBack: boolean
  /** Bytes of write frames that the origin lacks. */
  readonly dirtyBytes: number
  /** Something that the origin lacks may have been in a frame that cannot be read: nobody may go on from here without a word. */
  readonly isDirtyDamaged: boolean
}

export interface RecoveryContext {
  readonly chunkBytes: number
  /** Boot of this host now. */
  readonly bootId: string
  /**
   * A human wants what is left: chunks that are older than damage stay in the log, so that what is dirty in them can be written to the
   * origin. Such a log is never served: what its pages are nobody knows.
   */
  readonly pastDamage?: boolean
}

/** Reads the chunks of one log and decides; writes nothing. Rejects where a device does not answer. */
export async function planRecovery(found: readonly FoundChunk[], context: RecoveryContext): Promise<RecoveryPlan> {
  const newestSession = Math.max(0, ...found.map(({ header }) => header.session))
  const nextSequence = 1 + Math.max(0, ...found.map(({ header }) => header.sequence))
  const unbegun = await unbegunSession(found, context)
  const { members, dropped } = orderChunks(found.filter((each) => each !== unbegun))
  if (unbegun !== undefined) dropped.push(unbegun)
  const trailers = await mapConcurrently(members, (member) => readTrailer(member, context.chunkBytes))
  const walk = new Walk(context.chunkBytes, context.pastDamage === true)
  for (const [index, member] of members.entries()) {
    const laterProof = members.some(
      (later, at) => at > index && trailers[at] !== undefined && later.header.session >= member.header.session,
    )
    const stable = laterProof ? Infinity : stableFrameAfter(members, index)
    await walk.visit(member, trailers[index], stable, endOfSession(members, index))
  }
  const { chunks } = walk
  const newest = chunks.at(-1)
  dropped.push(...walk.dropped)
  if (newest === undefined) {
    return {
      chunks: [],
      dropped,
      superseded: [],
      invalid: [],
      touched: [],
      bad: [],
      newestSession,
      nextSequence,
      settledLsn: 1,
      epoch: 0,
      lastWrittenAt: 0,
      end: 'empty',
      damages: walk.damages,
      isWriteBack: false,
      dirtyBytes: 0,
      isDirtyDamaged: false,
    }
  }
  const { epoch, lastWrittenAt, closed, isWriteBack } = newest.state
  // Chunks are given back only when all of them is settled.
  const settledLsn = Math.min(Math.max(newest.state.settledLsn, walk.oldestLsn), newest.nextLsn)
  const dirtyBytes = isWriteBack && !closed ? (newest.nextLsn - settledLsn) * SECTOR_BYTES : 0
  const end = closed ? 'closed' : newest.found.header.bootId === context.bootId ? 'killed' : 'power-cut'
  const invalid: PageRange[] = []
  if (end !== 'closed' && !isWriteBack) {
    for (const chunk of chunks) {
      if (chunk.nextLsn > settledLsn) invalid.push(...(await unsettledPages(chunk, settledLsn, context.chunkBytes)))
    }
  }
  const newestFrames = chunks.findLast((chunk) => chunk.nextFrame > chunk.found.header.firstFrame)
  const marked = newestFrames === undefined ? NO_MARKS : await marksAtEnd(newestFrames, context.chunkBytes)
  const touched = end === 'closed' ? [] : marked.touched
  if (end === 'power-cut') invalid.push(...touched)
  const superseded: RecoveredChunk[] = []
  if (isWriteBack && !closed) while (chunks.length > 1 && isRepeated(chunks.at(-1)!)) superseded.unshift(chunks.pop()!)
  return {
    chunks,
    dropped,
    superseded,
    invalid,
    touched: end === 'killed' ? touched : [],
    bad: marked.bad,
    newestSession,
    nextSequence,
    settledLsn,
    epoch,
    lastWrittenAt,
    end,
    damages: walk.damages,
    isWriteBack: isWriteBack && !closed,
    dirtyBytes,
    isDirtyDamaged: isWriteBack && !closed && walk.damagedLsn > settledLsn,
  }
}

/**
 * The newest session counts only when its first frames, which say what was dropped before it, are whole: the chunk of a session that has not
 * begun. Until it has, the sessions before it are what they were.
 */
async function unbegunSession(
  found: readonly FoundChunk[],
  { chunkBytes, pastDamage }: RecoveryContext,
): Promise<FoundChunk | undefined> {
  const session = Math.max(...found.map(({ header }) => header.session))
  const [first, second] = found.filter(({ header }) => header.session === session)
  if (first === undefined || second !== undefined || first.header.sequence !== first.header.sessionStart)
    return undefined
  if ((await readTrailer(first, chunkBytes)) !== undefined) return undefined
  const walk = new Walk(chunkBytes, pastDamage === true)
  await walk.visit(first, undefined, 0, Infinity)
  return walk.sessionBegun ? undefined : first
}

/**
 * Whether a chunk of a log in write-back says nothing but what the frames say that a session begins with. So a full log needs one chunk for
 * a session, however often it is opened.
 */
function isRepeated({ found: { header }, sealed, columns, nextLsn }: RecoveredChunk): boolean {
  if (sealed || nextLsn !== header.firstLsn) return false
  for (let ordinal = 0; ordinal < columns.count; ordinal++) {
    const kind = columns.heat[ordinal]!
    if (columns.sectorMap[ordinal] !== 0) return false
    if (kind !== EXTENT_KIND.touched && kind !== EXTENT_KIND.quiet && kind !== EXTENT_KIND.bad) return false
  }
  return true
}

/** Sorts the chunks into the log, oldest first, and what an earlier recovery had dropped. */
function orderChunks(found: readonly FoundChunk[]): { members: FoundChunk[]; dropped: FoundChunk[] } {
  const newestFirst = [...found].sort(
    (a, b) => b.header.session - a.header.session || b.header.sequence - a.header.sequence,
  )
  const members: FoundChunk[] = []
  const dropped: FoundChunk[] = []
  let limit = Infinity
  let session = Infinity
  let sessionStart = Infinity
  for (const candidate of newestFirst) {
    const { header } = candidate
    if (header.session !== session) {
      limit = Math.min(limit, sessionStart)
      session = header.session
      sessionStart = header.sessionStart
    }
    if (header.sequence < limit) members.push(candidate)
    else dropped.push(candidate)
  }
  return { members: members.reverse(), dropped }
}

/** The highest stable position that a later chunk of the same session names in its header; any newer session proves all of an older one. */
function stableFrameAfter(members: readonly FoundChunk[], index: number): number {
  let stable = 0
  for (const { header } of members.slice(index + 1)) {
    if (header.session > members[index]!.header.session) return Infinity
    stable = Math.max(stable, header.stableFrame)
  }
  return stable
}

/** The frame with which a newer session began: what a chunk has from there on, a recovery had cut off. */
function endOfSession(members: readonly FoundChunk[], index: number): number {
  const { session } = members[index]!.header
  return members.slice(index + 1).find(({ header }) => header.session > session)?.header.firstFrame ?? Infinity
}

/** Goes through the chunks of a log from the oldest on. */
class Walk {
  readonly chunks: RecoveredChunk[] = []
  readonly dropped: FoundChunk[] = []
  damages = 0
  /** All that is damaged lies below it. */
  damagedLsn = 0
  /** Where the oldest chunk begins. */
  oldestLsn = 1
  /** Whether the first frames of the session that was visited last are whole. */
  sessionBegun = true
  #ended = false

  constructor(
    readonly chunkBytes: number,
    readonly pastDamage: boolean,
  ) {}

  /**
   * @param stable frames below it are known to have been stable
   * @param end frames from it on do not count
   */
  async visit(member: FoundChunk, trailer: SummaryTrailer | undefined, stable: number, end: number): Promise<void> {
    if (this.#ended) {
      this.dropped.push(member)
      return
    }
    const { header } = member
    if (this.chunks.length === 0 && this.damages === 0) this.oldestLsn = header.firstLsn
    const previous = this.chunks.at(-1)
    if (previous !== undefined && !followsChunk(header, previous)) {
      const wasStable =
        trailer !== undefined ||
        header.session > previous.found.header.session ||
        Math.max(stable, header.stableFrame, await this.#highestStableFrame(member)) > previous.nextFrame
      if (!wasStable) {
        this.#ended = true
        this.dropped.push(member)
        return
      }
      this.#damage(header.firstLsn)
    }
    if (trailer !== undefined) {
      this.sessionBegun = true
      const state = {
        settledLsn: Math.max(this.#settledLsn, header.settledLsn, trailer.settledLsn),
        epoch: header.epoch,
        lastWrittenAt: trailer.writtenAt,
        closed: false,
        isWriteBack: (trailer.flags & SUMMARY_FLAG.writeBack) !== 0,
      }
      this.chunks.push({ found: member, sealed: true, columns: new ChunkColumns(1), ...pick(trailer), state })
      return
    }
    await this.#scan(member, stable, end)
  }

  get #settledLsn(): number {
    return this.chunks.at(-1)?.state.settledLsn ?? 1
  }

  /** All that came before is older than something that was lost; what lies at or above `lsn` is whole. */
  #damage(lsn: number): void {
    this.damages++
    this.damagedLsn = lsn
    if (this.pastDamage) return
    for (const { found } of this.chunks.splice(0)) this.dropped.push(found)
  }

  /** The highest stable position that a frame of a chunk names. */
  async #highestStableFrame({ chunk, header }: FoundChunk): Promise<number> {
    return withBytes(chunk, 0, this.chunkBytes, (bytes) => {
      let highest = 0
      for (let at = CHUNK_HEADER_BYTES; at < bytes.length; at += SECTOR_BYTES) {
        const frame = decodeFrame(bytes, at)
        if (frame !== undefined && belongsTo(frame, header)) highest = Math.max(highest, frame.local.stableFrame)
      }
      return highest
    })
  }

  async #scan(member: FoundChunk, stable: number, end: number): Promise<void> {
    await withBytes(member.chunk, 0, this.chunkBytes, (bytes) => this.#scanBytes(bytes, member, stable, end))
  }

  #scanBytes(buffer: Buffer, member: FoundChunk, stable: number, end: number): void {
    const { chunk, header } = member
    const block = chunk.device.logicalBlockBytes
    let columns = new ChunkColumns()
    let begun = header.sequence !== header.sessionStart
    let at = CHUNK_HEADER_BYTES
    let nextFrame = header.firstFrame
    let nextLsn = header.firstLsn
    let lastFrameChecksum = header.previousFrameChecksum
    let lastWriteChecksum = header.previousWriteChecksum
    let closed = false
    let isWriteBack = this.chunks.at(-1)?.state.isWriteBack ?? false
    let epoch = header.epoch
    let lastWrittenAt = header.createdAt
    let settledLsn = Math.max(this.#settledLsn, header.settledLsn)
    while (nextFrame < end) {
      let frame = decodeFrame(buffer, at)
      if (frame !== undefined) {
        const { local, portable } = frame
        const isWrite = portable.kind === FRAME_KIND.writes
        if (!belongsTo(frame, header)) frame = undefined
        else if (local.frame !== nextFrame || local.previousChecksum !== lastFrameChecksum) frame = undefined
        else if (isWrite && (portable.lsn !== nextLsn || portable.previousWriteChecksum !== lastWriteChecksum))
          frame = undefined
      }
      // Of a frame that is known to have been stable the headers are enough: its bad pages are found out, one by one, when they are read.
      if (frame === undefined || (frame.local.frame >= stable && !hasItsData(buffer, at, frame))) {
        const behind = lookBehind(buffer, at + SECTOR_BYTES, header, nextFrame, stable, end)
        if (behind === 'the end') break
        // It had been stable all the same.
        if (frame === undefined) {
          // Go on behind it: no page that is older than it may be served.
          if (!this.pastDamage) columns = columnsAfterDamage(header)
          if (behind === 'nothing whole') {
            this.#damage(Infinity)
            break
          }
          this.#damage(behind.frame.portable.lsn)
          at = behind.at
          frame = behind.frame
          nextLsn = frame.portable.lsn
          lastWriteChecksum = frame.portable.previousWriteChecksum
        }
      }
      addEntries(columns, frame, at)
      const { local, portable } = frame
      at += local.frameBytes
      nextFrame = local.frame + 1
      nextLsn = portable.lsn + portable.lsnUnits
      lastFrameChecksum = frame.localChecksum
      if (portable.kind === FRAME_KIND.writes) lastWriteChecksum = frame.portableChecksum
      begun ||= (portable.flags & FRAME_FLAG.sessionBegun) !== 0
      closed = (portable.flags & FRAME_FLAG.closed) !== 0
      isWriteBack = (portable.flags & FRAME_FLAG.writeBack) !== 0
      settledLsn = Math.max(settledLsn, portable.settledLsn)
      epoch = portable.epoch
      lastWrittenAt = portable.writtenAt
    }
    if (at + summaryBytes(columns.count, block) > this.chunkBytes) {
      // What had to be added behind damage leaves no room for a summary that would prove the chunk.
      this.dropped.push(member)
      return
    }
    this.sessionBegun = begun
    this.chunks.push({
      found: member,
      sealed: false,
      columns,
      endOffset: at,
      nextFrame,
      nextLsn,
      lastFrameChecksum,
      lastWriteChecksum,
      state: { settledLsn, epoch, lastWrittenAt, closed, isWriteBack },
    })
  }
}

function followsChunk(header: ChunkHeader, previous: RecoveredChunk): boolean {
  return (
    header.sequence === previous.found.header.sequence + 1 &&
    header.firstFrame === previous.nextFrame &&
    header.previousFrameChecksum === previous.lastFrameChecksum
  )
}

function pick(trailer: SummaryTrailer): Omit<RecoveredChunk, 'found' | 'sealed' | 'columns' | 'state'> {
  const { endOffset, nextFrame, nextLsn, lastFrameChecksum, lastWriteChecksum } = trailer
  return { endOffset, nextFrame, nextLsn, lastFrameChecksum, lastWriteChecksum }
}

/** The frame at `at` of a chunk's bytes, headers and data verified and of this life of the chunk; else undefined. */
export function readFrame(bytes: Buffer, at: number, header: ChunkHeader): DecodedFrame | undefined {
  const frame = decodeFrame(bytes, at)
  if (frame === undefined || !belongsTo(frame, header)) return undefined
  return hasItsData(bytes, at, frame) ? frame : undefined
}

/** Whether every page of data of a frame at `at` has its checksum. */
function hasItsData(bytes: Buffer, at: number, frame: DecodedFrame): boolean {
  let dataAt = at + frameDataOffset(frame.local.headerBytes)
  let index = 0
  for (const extent of frame.extents) {
    if (extent.kind !== EXTENT_KIND.data) continue
    const length = sectorCount(extent.sectorMap) * SECTOR_BYTES
    for (let page = 0; page < extent.count; page++, index++, dataAt += length) {
      if (checksumOf(bytes, dataAt, dataAt + length) !== frame.pageChecksums[index]) return false
    }
  }
  return true
}

/** Whether a frame is of this life of its chunk. */
export function belongsTo({ local, portable }: DecodedFrame, header: ChunkHeader): boolean {
  return local.generation === header.generation && local.session === header.session && portable.logId === header.logId
}

/**
 * What lies behind a bad frame, from `from` on. Where something shows that frame `missing` had been stable, the first whole frame behind it,
 * or 'nothing whole'. Else it is 'the end' of the log. Any whole header is proof enough, whatever became of its data.
 */
function lookBehind(
  bytes: Buffer,
  from: number,
  header: ChunkHeader,
  missing: number,
  stable: number,
  end: number,
): { at: number; frame: DecodedFrame } | 'nothing whole' | 'the end' {
  let first: { at: number; frame: DecodedFrame } | undefined
  let wasStable = false
  for (let at = from; at < bytes.length && !(wasStable && first !== undefined); at += SECTOR_BYTES) {
    const seen = decodeFrame(bytes, at)
    if (seen === undefined || !belongsTo(seen, header) || seen.local.frame <= missing) continue
    wasStable ||= Math.max(stable, seen.local.stableFrame) > missing
    if (first !== undefined || seen.local.frame >= end) continue
    const frame = readFrame(bytes, at, header)
    if (frame !== undefined) first = { at, frame }
  }
  if (!wasStable) return 'the end'
  return first ?? 'nothing whole'
}

/** What is known behind damage: nothing of what came before, so any region of the disk may be touched. */
function columnsAfterDamage({ diskBytes, phase }: ChunkHeader): ChunkColumns {
  const columns = new ChunkColumns()
  const pages = Math.ceil((diskBytes + phase * SECTOR_BYTES) / PAGE_BYTES)
  columns.add(0, roundUp(pages, PAGES_PER_REGION), 0, 0, EXTENT_KIND.touched, false)
  return columns
}

/** Adds what a frame at `at` of its chunk says, as the log itself does. */
export function addEntries(columns: ChunkColumns, frame: DecodedFrame, at: number): void {
  const isWrite = frame.portable.kind === FRAME_KIND.writes
  let dataAt = at + frameDataOffset(frame.local.headerBytes)
  let index = 0
  for (const extent of frame.extents) {
    if (extent.kind !== EXTENT_KIND.data) {
      columns.add(extent.page, extent.count, 0, 0, extent.kind, isWrite)
      continue
    }
    const length = sectorCount(extent.sectorMap) * SECTOR_BYTES
    for (let page = extent.page; page < extent.page + extent.count; page++, index++, dataAt += length) {
      columns.add(page, frame.pageChecksums[index]!, dataAt / SECTOR_BYTES, extent.sectorMap, 0, isWrite)
    }
  }
}

/** Pages of write frames at or above `settledLsn`. */
function unsettledPages(chunk: RecoveredChunk, settledLsn: number, chunkBytes: number): Promise<PageRange[]> {
  return withBytes(chunk.found.chunk, 0, chunkBytes, (bytes) => {
    const ranges: PageRange[] = []
    for (const { frame } of framesOf(chunk, bytes)) {
      if (frame === undefined || frame.portable.kind !== FRAME_KIND.writes || frame.portable.lsn < settledLsn) continue
      for (const { page, count } of frame.extents) ranges.push({ page, count })
    }
    return ranges
  })
}

/** The frames of a chunk that is known to be whole, in order; undefined stands for a block that cannot be read as one. */
function* framesOf(chunk: RecoveredChunk, bytes: Buffer): Generator<{ at: number; frame: DecodedFrame | undefined }> {
  const { found, endOffset } = chunk
  for (let at = CHUNK_HEADER_BYTES; at < endOffset;) {
    const decoded = decodeFrame(bytes, at)
    const frame = decoded?.local.generation === found.header.generation ? decoded : undefined
    yield { at, frame }
    at += frame?.local.frameBytes ?? found.chunk.device.logicalBlockBytes
  }
}

/** Reads a part of a chunk into aligned memory for as long as `use` runs. */
async function withBytes<R>(chunk: Chunk, offset: number, length: number, use: (bytes: Buffer) => R): Promise<R> {
  const bytes = alignedBuffer(Math.ceil(length / 4096) * 4096)
  try {
    await chunk.device.read(chunk.offset + offset, bytes, 0, length)
    return use(bytes.subarray(0, length))
  } finally {
    releaseAligned(bytes)
  }
}

interface Marks {
  readonly touched: PageRange[]
  readonly bad: number[]
}

const NO_MARKS: Marks = { touched: [], bad: [] }

/** Touched regions and bad pages at the end of the log: the first frame of each chunk lists all, later ones add and take away. */
async function marksAtEnd(newest: RecoveredChunk, chunkBytes: number): Promise<Marks> {
  const columns = await readEntries(newest, chunkBytes)
  const { diskBytes, phase } = newest.found.header
  const regions = new Set<number>()
  const bad = new Set<number>()
  for (let ordinal = 0; ordinal < columns.count; ordinal++) {
    const page = columns.page[ordinal]!
    if (columns.sectorMap[ordinal] !== 0) {
      if (bad.has(page) && columns.sectorMap[ordinal] === sectorsOnDisk(page, diskBytes, phase)) bad.delete(page)
      continue
    }
    const kind = columns.heat[ordinal]
    if (kind === EXTENT_KIND.bad) bad.add(page)
    else if (kind === EXTENT_KIND.zero || kind === EXTENT_KIND.trim || kind === EXTENT_KIND.invalid) {
      const end = page + columns.checksum[ordinal]!
      for (const each of bad) if (each >= page && each < end) bad.delete(each)
    }
    if (kind !== EXTENT_KIND.touched && kind !== EXTENT_KIND.quiet) continue
    const first = columns.page[ordinal]! / PAGES_PER_REGION
    const count = columns.checksum[ordinal]! / PAGES_PER_REGION
    for (let region = first; region < first + count; region++) {
      if (kind === EXTENT_KIND.touched) regions.add(region)
      else regions.delete(region)
    }
  }
  return { touched: regionRanges([...regions]), bad: [...bad] }
}

/** The entries of a recovered chunk, read from its summary where they are not known yet. */
export async function readEntries(chunk: RecoveredChunk, chunkBytes: number): Promise<ChunkColumns> {
  if (!chunk.sealed) return chunk.columns
  const trailer = await readTrailer(chunk.found, chunkBytes)
  if (trailer === undefined) return new ChunkColumns(1)
  const block = chunk.found.chunk.device.logicalBlockBytes
  const length = summaryBytes(trailer.entryCount, block)
  const columns = await withBytes(chunk.found.chunk, chunkBytes - length, length, (bytes) =>
    decodeSummary(bytes, trailer),
  )
  if (columns !== undefined) return columns
  // Bad entries behind a good trailer: the chunk is whole, so what the summary said stands in its frames.
  return withBytes(chunk.found.chunk, 0, chunkBytes, (bytes) => {
    let scanned = new ChunkColumns()
    for (const { at, frame } of framesOf(chunk, bytes)) {
      // What cannot be read may have replaced or invalidated what came before.
      if (frame === undefined) scanned = columnsAfterDamage(chunk.found.header)
      else addEntries(scanned, frame, at)
    }
    return scanned
  })
}

/** The entries in the bytes that end with a trailer; undefined where they are not what it says. */
export function decodeSummary(bytes: Buffer, trailer: SummaryTrailer): ChunkColumns | undefined {
  const end = bytes.length - TRAILER_BYTES
  const start = end - trailer.entryCount * SUMMARY_ENTRY_BYTES
  if (checksumOf(bytes, start, end) !== trailer.entriesChecksum) return undefined
  const columns = new ChunkColumns(Math.max(1, trailer.entryCount))
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = start; at < end; at += SUMMARY_ENTRY_BYTES) {
    const sectorMap = view.getUint8(at + 10)
    const kind = view.getUint8(at + 11)
    columns.add(
      view.getUint32(at, true),
      view.getUint32(at + 4, true),
      view.getUint16(at + 8, true),
      sectorMap,
      sectorMap === 0 ? kind : 0,
      kind === EXTENT_KIND.data || kind === EXTENT_KIND.zero || kind === EXTENT_KIND.trim,
    )
  }
  return columns
}

/** The trailer of a chunk's summary if it belongs to this life of the chunk. */
async function readTrailer(found: FoundChunk, chunkBytes: number): Promise<SummaryTrailer | undefined> {
  const { chunk, header } = found
  const block = chunk.device.logicalBlockBytes
  const trailer = await withBytes(chunk, chunkBytes - block, block, (bytes) =>
    decodeSummaryTrailer(bytes, block - TRAILER_BYTES),
  )
  if (trailer === undefined || trailer.generation !== header.generation || trailer.session !== header.session)
    return undefined
  if (trailer.logId !== header.logId || trailer.sequence !== header.sequence) return undefined
  if (trailer.endOffset > chunkBytes || trailer.entryCount > chunkBytes / SECTOR_BYTES) return undefined
  return trailer
}

const CONCURRENT_READS = 16

/** The results in the order of the items. */
export async function mapConcurrently<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = Array.from({ length: items.length })
  let next = 0
  const run = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++
      results[index] = await map(items[index]!)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENT_READS }, run))
  return results
}
