import { SECTOR_BYTES } from '../model/geometry.js'
import { Structure, type Values } from './structure.js'
import { FORMAT_VERSION } from './superblock.js'

/**
 * Every chunk begins with a header of this size; frames follow it at once. Its first sector says all that the log needs and has a
 * checksum of its own: devices write sectors whole, so after a power cut it is the old one or the new one. One that is neither
 * is damage. The rest names the disk, for an import from devices alone.
 */
export const CHUNK_HEADER_BYTES = 4096
export const MAXIMUM_DISK_NAME_BYTES = 256
export const MAXIMUM_ORIGIN_BYTES = 1024

/** The log was in write-back when the chunk was opened: its origin may lack what is in here. */
export const CHUNK_FLAG = { writeBack: 1 } as const

export const CHUNK_KIND = { free: 1, log: 2, object: 3 } as const

const head = new Structure('chunk header', 'vmCH', SECTOR_BYTES, {
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
  reserved: `reserved:${SECTOR_BYTES - 8 - 8 - 16 * 3 - 8 * 12 - 4 * 2}`,
})

const names = new Structure('chunk header, names', 'vmCN', CHUNK_HEADER_BYTES - SECTOR_BYTES, {
  /** The same as before it; else they are names of an earlier life of the chunk. */
  generation: 'u64',
  diskName: `text:${MAXIMUM_DISK_NAME_BYTES}`,
  origin: `text:${MAXIMUM_ORIGIN_BYTES}`,
  reserved: `reserved:${CHUNK_HEADER_BYTES - SECTOR_BYTES - 8 - 8 - MAXIMUM_DISK_NAME_BYTES - MAXIMUM_ORIGIN_BYTES}`,
})

type ValuesOf<S> = S extends Structure<infer F> ? Values<F> : never
/** `diskName` and `origin` are empty where the sectors that hold them are not whole. */
export type ChunkHeader = Omit<ValuesOf<typeof head>, 'version'> & ValuesOf<typeof names>

export const chunkHeaderLayout = head.layout
/** Offsets from the second sector on. */
export const chunkNamesLayout = names.layout

export function encodeChunkHeader(target: Buffer, at: number, header: ChunkHeader): void {
  head.encode(target, at, { ...header, version: FORMAT_VERSION })
  names.encode(target, at + SECTOR_BYTES, header)
}

export type ChunkHeaderReading =
  | { readonly kind: 'header'; readonly header: ChunkHeader }
  /** That of a chunk of an object, which object-header.ts reads. */
  | { readonly kind: 'object'; readonly cacheId: string }
  /** All zeroes: nothing was ever written there. */
  | { readonly kind: 'unused' }
  /** Something was written there, and it is not what it was. */
  | { readonly kind: 'damaged' }
  /** A newer vmcache wrote it. */
  | { readonly kind: 'newer'; readonly version: number }

/** What the first {@link CHUNK_HEADER_BYTES} of a chunk are. */
export function readChunkHeader(source: Buffer, at: number): ChunkHeaderReading {
  const fixed = head.read(source, at)
  if (fixed === undefined) {
    const isUnused = source.subarray(at, at + SECTOR_BYTES).every((byte) => byte === 0)
    return { kind: isUnused ? 'unused' : 'damaged' }
  }
  if (fixed.version > FORMAT_VERSION) return { kind: 'newer', version: fixed.version }
  if (fixed.kind === CHUNK_KIND.object) return { kind: 'object', cacheId: fixed.cacheId }
  const named = names.read(source, at + SECTOR_BYTES)
  const { diskName, origin } = named?.generation === fixed.generation ? named : { diskName: '', origin: '' }
  return { kind: 'header', header: { ...fixed, diskName, origin } }
}

/** The header, or undefined where the bytes are none that this version reads. */
export function decodeChunkHeader(source: Buffer, at: number): ChunkHeader | undefined {
  const reading = readChunkHeader(source, at)
  return reading.kind === 'header' ? reading.header : undefined
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
