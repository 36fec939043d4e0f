import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { EXTENT_KIND } from '../../format/frame.js'
import {
  SUMMARY_ENTRY_BYTES,
  SUMMARY_FLAG,
  TRAILER_BYTES,
  encodeSummaryTrailer,
  summaryBytes,
} from '../../format/summary.js'
import { checksumOf } from '../../base/checksum.js'
import type { Chunk } from './chunk-source.js'
import { StoredChunk } from './stored-chunk.js'

export type ChunkState = 'open' | 'sealing' | 'sealed'

/** One chunk of a log in memory. */
export class LogChunk extends StoredChunk {
  state: ChunkState
  /** Bytes of the chunk that frames and header fill. */
  writtenOffset = CHUNK_HEADER_BYTES
  /** Bytes of it that the device has been given; a read finds what lies below. */
  deviceOffset = 0
  /** Bytes of it that are on stable storage. */
  stableOffset = 0
  /** Entries that a read finds. */
  published = 0
  /** The frame and LSN behind the last ones in here. */
  nextFrame: number
  nextLsn: number
  /** What the last frame in here says. */
  settledLsn = 0
  isWriteBack = false
  lastFrameChecksum = 0
  lastWriteChecksum = 0
  /** Pages of which the newest version is here. */
  livePages = 0
  /** Only frames that say what is settled may be appended. */
  reserved = false

  constructor(
    chunk: Chunk,
    readonly generation: number,
    slot: number,
    readonly sequence: number,
    readonly session: number,
    readonly firstFrame: number,
    readonly firstLsn: number,
    state: ChunkState = 'open',
  ) {
    super(chunk, slot)
    this.state = state
    this.nextFrame = firstFrame
    this.nextLsn = firstLsn
  }

  /** Bytes left for frames if `entries` more entries have to fit into the summary. */
  room(chunkBytes: number, entries: number): number {
    return (
      chunkBytes - this.writtenOffset - summaryBytes(this.columns.count + entries, this.chunk.device.logicalBlockBytes)
    )
  }
}

/** The summary of a chunk as the bytes that end it, and where in the chunk they begin. */
export function encodeSummary(
  chunk: LogChunk,
  logId: string,
  chunkBytes: number,
  settledLsn: number,
  writtenAt: number,
  target: Buffer,
): { offset: number; bytes: Buffer } {
  const { columns } = chunk
  const length = summaryBytes(columns.count, chunk.chunk.device.logicalBlockBytes)
  const bytes = target.subarray(0, length)
  bytes.fill(0)
  const trailerAt = length - TRAILER_BYTES
  const entriesAt = trailerAt - columns.count * SUMMARY_ENTRY_BYTES
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  for (let ordinal = 0, at = entriesAt; ordinal < columns.count; ordinal++, at += SUMMARY_ENTRY_BYTES) {
    const sectorMap = columns.sectorMap[ordinal]!
    view.setUint32(at, columns.page[ordinal]!, true)
    view.setUint32(at + 4, columns.checksum[ordinal]!, true)
    view.setUint16(at + 8, columns.unit[ordinal]!, true)
    bytes[at + 10] = sectorMap
    // The heat of a page is not kept; that a guest wrote it, and the kind of another extent, are.
    const kind = sectorMap === 0 ? columns.heat[ordinal]! : columns.isWrite(ordinal) ? EXTENT_KIND.data : 0
    bytes[at + 11] = kind
  }
  encodeSummaryTrailer(bytes, trailerAt, {
    flags: chunk.isWriteBack ? SUMMARY_FLAG.writeBack : 0,
    entryCount: columns.count,
    entriesChecksum: checksumOf(bytes, entriesAt, trailerAt),
    endOffset: chunk.writtenOffset,
    generation: chunk.generation,
    logId,
    session: chunk.session,
    sequence: chunk.sequence,
    nextFrame: chunk.nextFrame,
    nextLsn: chunk.nextLsn,
    lastFrameChecksum: chunk.lastFrameChecksum,
    lastWriteChecksum: chunk.lastWriteChecksum,
    settledLsn,
    writtenAt,
  })
  return { offset: chunkBytes - length, bytes }
}
