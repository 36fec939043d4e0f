import { Structure, type Values } from './structure.js'
import { FORMAT_VERSION } from './superblock.js'

/** Every chunk begins with a header of this size; frames follow it at once. */
export const CHUNK_HEADER_BYTES = 4096
export const MAXIMUM_DISK_NAME_BYTES = 256
export const MAXIMUM_ORIGIN_BYTES = 1024

export const CHUNK_KIND = { free: 1, log: 2, object: 3 } as const

const structure = new Structure('chunk header', 'vmCH', CHUNK_HEADER_BYTES, {
  version: 'u16',
  kind: 'u8',
  /** Phase of the disk in sectors (0..7). */
  phase: 'u8',
  /** Persistence level and append stream of the log; 0 until a disk has several. */
  level: 'u8',
  stream: 'u8',
  flags: 'u16',
  cacheId: 'id',
  /** Never used twice for this chunk; frames and summary repeat it. */
  generation: 'u64',
  logId: 'id',
  /** Number of this chunk in its log, without gaps. */
  sequence: 'u64',
  session: 'u64',
  /** Sequence of the first chunk of the session: chunks of older sessions at or above it were dropped by a recovery. */
  sessionStart: 'u64',
  /** The first frame that this chunk will hold, and what the chains stand at before it. */
  firstFrame: 'u64',
  firstLsn: 'u64',
  previousFrameChecksum: 'u32',
  previousWriteChecksum: 'u32',
  settledLsn: 'u64',
  /** Every frame below it was on stable storage when this header was written. */
  stableFrame: 'u64',
  floor: 'u64',
  epoch: 'u64',
  createdAt: 'u64',
  /** Boot of the host in which the session began: tells a kill from a power cut. */
  bootId: 'id',
  diskBytes: 'u64',
  diskName: `text:${MAXIMUM_DISK_NAME_BYTES}`,
  origin: `text:${MAXIMUM_ORIGIN_BYTES}`,
  reserved: `reserved:${CHUNK_HEADER_BYTES - 8 - 8 - 16 * 3 - 8 * 12 - 4 * 2 - MAXIMUM_DISK_NAME_BYTES - MAXIMUM_ORIGIN_BYTES}`,
})

export type ChunkHeader = Omit<Values<typeof structure extends Structure<infer F> ? F : never>, 'version'>

export const chunkHeaderLayout = structure.layout

export function encodeChunkHeader(target: Buffer, at: number, header: ChunkHeader): void {
  structure.encode(target, at, { ...header, version: FORMAT_VERSION })
}

/** The header, or undefined where the bytes are none or do not verify. */
export function decodeChunkHeader(source: Buffer, at: number): ChunkHeader | undefined {
  const header = structure.read(source, at)
  return header === undefined || header.version > FORMAT_VERSION ? undefined : header
}

const NO_ID = '0'.repeat(32)

/** The header of a chunk that nobody holds: its generation is above every one that its frames can have. */
export function freeChunkHeader(cacheId: string, generation: number, createdAt: number): ChunkHeader {
  return {
    kind: CHUNK_KIND.free,
    phase: 0,
    level: 0,
    stream: 0,
    flags: 0,
    cacheId,
    generation,
    logId: NO_ID,
    sequence: 0,
    session: 0,
    sessionStart: 0,
    firstFrame: 0,
    firstLsn: 0,
    previousFrameChecksum: 0,
    previousWriteChecksum: 0,
    settledLsn: 0,
    stableFrame: 0,
    floor: 0,
    epoch: 0,
    createdAt,
    bootId: NO_ID,
    diskBytes: 0,
    diskName: '',
    origin: '',
  }
}
