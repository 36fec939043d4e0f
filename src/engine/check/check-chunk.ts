import { checksumOf } from '../../base/checksum.js'
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { decodeFrame, sectorCount, type DecodedFrame } from '../../format/frame.js'
import { SUMMARY_ENTRY_BYTES, TRAILER_BYTES, decodeSummaryTrailer, type SummaryTrailer } from '../../format/summary.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { ChunkColumns } from '../index/chunk-columns.js'
import { addEntries, belongsTo, decodeSummary, type RecoveredChunk } from '../log/recovery.js'

/** What the bytes of a chunk of a log say, all of them looked at. */
export interface ChunkReport {
  /** Entries of the frames that can be read. */
  readonly entries: ChunkColumns
  /** Places where no frame is, or one that does not follow. */
  readonly badFrames: readonly string[]
  /** Pages whose bytes do not have their checksum. */
  readonly badPages: readonly number[]
  readonly summary: 'none' | 'good' | 'bad entries' | 'other entries'
}

/** @param bytes the whole chunk */
export function checkChunk(bytes: Buffer, chunk: RecoveredChunk): ChunkReport {
  const { entries, badFrames } = walkFrames(bytes, chunk)
  const trailer = chunk.sealed ? decodeSummaryTrailer(bytes, bytes.length - TRAILER_BYTES) : undefined
  const summarized = trailer === undefined ? undefined : readSummary(bytes, trailer)
  let summary: ChunkReport['summary'] = 'good'
  if (trailer === undefined) summary = 'none'
  else if (summarized === undefined) summary = 'bad entries'
  else if (badFrames.length === 0 && !areEqual(summarized, entries)) summary = 'other entries'
  // What a reader of the cache goes by.
  return { entries, badFrames, badPages: badPagesOf(bytes, summarized ?? entries), summary }
}

function readSummary(bytes: Buffer, trailer: SummaryTrailer): ChunkColumns | undefined {
  const start = bytes.length - TRAILER_BYTES - trailer.entryCount * SUMMARY_ENTRY_BYTES
  return start < CHUNK_HEADER_BYTES ? undefined : decodeSummary(bytes.subarray(start), trailer)
}

function walkFrames(
  bytes: Buffer,
  { found: { header }, endOffset }: RecoveredChunk,
): { entries: ChunkColumns; badFrames: string[] } {
  const entries = new ChunkColumns()
  const badFrames: string[] = []
  let frameNumber = header.firstFrame
  let chain = header.previousFrameChecksum
  let isLost = false
  for (let at = CHUNK_HEADER_BYTES; at < endOffset;) {
    const frame = decodeFrame(bytes, at)
    if (frame === undefined || !belongsTo(frame, header)) {
      if (!isLost) badFrames.push(`no frame ${frameNumber} at byte ${at}`)
      isLost = true
      at += SECTOR_BYTES
      continue
    }
    if (!isLost && !follows(frame, frameNumber, chain))
      badFrames.push(`frame ${frame.local.frame} at byte ${at} does not follow`)
    isLost = false
    addEntries(entries, frame, at)
    frameNumber = frame.local.frame + 1
    chain = frame.localChecksum
    at += frame.local.frameBytes
  }
  return { entries, badFrames }
}

function follows({ local }: DecodedFrame, frameNumber: number, chain: number): boolean {
  return local.frame === frameNumber && local.previousChecksum === chain
}

function areEqual(left: ChunkColumns, right: ChunkColumns): boolean {
  if (left.count !== right.count) return false
  for (let ordinal = 0; ordinal < left.count; ordinal++) {
    if (
      left.page[ordinal] !== right.page[ordinal] ||
      left.checksum[ordinal] !== right.checksum[ordinal] ||
      left.unit[ordinal] !== right.unit[ordinal] ||
      left.sectorMap[ordinal] !== right.sectorMap[ordinal]
    )
      return false
  }
  return true
}

function badPagesOf(bytes: Buffer, { count, page, checksum, unit, sectorMap }: ChunkColumns): number[] {
  const bad: number[] = []
  for (let ordinal = 0; ordinal < count; ordinal++) {
    const sectors = sectorCount(sectorMap[ordinal]!)
    if (sectors === 0) continue
    const start = unit[ordinal]! * SECTOR_BYTES
    if (checksumOf(bytes, start, start + sectors * SECTOR_BYTES) !== checksum[ordinal]) bad.push(page[ordinal]!)
  }
  return bad
}
