/**
 * A frame is what one append writes into a chunk:
 *
 *     local header | portable header | extents | page checksums | padding to 512 | data | padding to the device's block
 *
 * The *local* header belongs to the device: generation, session, frame number, chain over local headers, stable position. The
 * *portable* part belongs to the disk and travels byte for byte: log id, epoch, LSN, chain over write frames, `settledLsn`, extents,
 * one checksum per page of data. A frame holds writes or copies, never both.
 *
 * The local checksum covers the local header alone, and the local header names the portable checksum, which covers portable
 * header, extents and page checksums: a frame is right if both verify and every page of data has its checksum.
 */
import { Structure, type Values } from './structure.js'
import { FORMAT_VERSION } from './superblock.js'
import { SECTOR_BYTES } from '../model/geometry.js'

export const FRAME_KIND = { writes: 1, copies: 2 } as const

export const FRAME_FLAG = {
  /** All that lies before and in this frame was made stable on a guest's demand. */
  barrier: 1,
  /** The session has begun: all that its recovery dropped is written down in frames before this one. */
  sessionBegun: 2,
  /** The log was closed cleanly behind this frame: nothing in flight, origin flushed, all of it stable. */
  closed: 4,
  /** The log is in write-back: what it has at or above `settledLsn` the origin lacks. Else it was sent there beside the log. */
  writeBack: 8,
} as const

/**
 * What an extent says of its pages. `data`: count pages, each with the sectors of the map stored back to back. `zero`, `trim`: the guest
 * zeroed or trimmed these sectors. `invalid`: nothing that was logged of them earlier may be served. `touched`, `quiet`: regions
 * that a power cut may leave stale, or no more. `bad`: a write of these pages was lost before the origin had it, so that they are not to
 * be read until they are written anew. The first frame of a chunk lists all that are touched or bad.
 */
export const EXTENT_KIND = { data: 1, zero: 2, trim: 3, invalid: 4, touched: 5, quiet: 6, bad: 7 } as const

export const LOCAL_HEADER_BYTES = 80
export const PORTABLE_HEADER_BYTES = 80
export const EXTENT_BYTES = 16
export const PAGE_CHECKSUM_BYTES = 4
/** No frame is larger; parsers refuse what claims to be. */
export const MAXIMUM_FRAME_BYTES = 4 * 1024 * 1024

const local = new Structure('frame, local header', 'vmFL', LOCAL_HEADER_BYTES, {
  version: 'u16',
  kind: 'u8',
  stream: 'u8',
  /** Local header, portable header, extents and page checksums, without padding. */
  headerBytes: 'u32',
  /** The whole frame, padding included: the next frame begins behind it. */
  frameBytes: 'u32',
  generation: 'u64',
  session: 'u64',
  /** Number of this frame in its log, over all streams, without gaps. */
  frame: 'u64',
  stableFrame: 'u64',
  /** Recovery ignores every frame below it. */
  floor: 'u64',
  /** Checksum of the local header before this one. */
  previousChecksum: 'u32',
  portableChecksum: 'u32',
  reserved: 'reserved:12',
})

const portable = new Structure('frame, portable header', 'vmFP', PORTABLE_HEADER_BYTES, {
  version: 'u16',
  kind: 'u8',
  flags: 'u8',
  extentCount: 'u32',
  checksumCount: 'u32',
  dataSectors: 'u32',
  /** LSN units (512 bytes) that a write frame takes: portable part and data; 0 for copies. */
  lsnUnits: 'u32',
  /** Portable checksum of the write frame before this one. */
  previousWriteChecksum: 'u32',
  logId: 'id',
  epoch: 'u64',
  /** Position of a write frame; for copies, the position that they follow. */
  lsn: 'u64',
  settledLsn: 'u64',
  /** Milliseconds since 1970. */
  writtenAt: 'u64',
})

type ValuesOf<S> = S extends Structure<infer F> ? Values<F> : never
export type LocalHeader = Omit<ValuesOf<typeof local>, 'version'>
export type PortableHeader = Omit<ValuesOf<typeof portable>, 'version'>

export const localHeaderLayout = local.layout
export const portableHeaderLayout = portable.layout

export interface Extent {
  kind: number
  page: number
  count: number
  sectorMap: number
}

/** Bytes of all headers of a frame, without padding. */
export function frameHeaderBytes(extentCount: number, checksumCount: number): number {
  return LOCAL_HEADER_BYTES + PORTABLE_HEADER_BYTES + extentCount * EXTENT_BYTES + checksumCount * PAGE_CHECKSUM_BYTES
}

/** Where the data of a frame begins, from its start. */
export function frameDataOffset(headerBytes: number): number {
  return roundUp(headerBytes, SECTOR_BYTES)
}

/** LSN units of a write frame. */
export function lsnUnitsOf(headerBytes: number, dataSectors: number): number {
  return Math.ceil((headerBytes - LOCAL_HEADER_BYTES) / SECTOR_BYTES) + dataSectors
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

export function encodeExtent(
  target: Buffer,
  at: number,
  kind: number,
  page: number,
  count: number,
  sectorMap: number,
): void {
  target.writeUInt32LE(page, at)
  target.writeUInt32LE(0, at + 4)
  target.writeUInt32LE(count, at + 8)
  target.writeUInt8(kind, at + 12)
  target.writeUInt8(sectorMap, at + 13)
  target.writeUInt16LE(0, at + 14)
}

export function extentOffset(frameAt: number, index: number): number {
  return frameAt + LOCAL_HEADER_BYTES + PORTABLE_HEADER_BYTES + index * EXTENT_BYTES
}

export function pageChecksumOffset(frameAt: number, extentCount: number, index: number): number {
  return extentOffset(frameAt, extentCount) + index * PAGE_CHECKSUM_BYTES
}

/**
 * Writes both headers in front of extents and page checksums that are in place already, and returns the two checksums that the
 * chains go on with.
 */
export function encodeFrameHeaders(
  target: Buffer,
  at: number,
  localHeader: Omit<LocalHeader, 'portableChecksum'>,
  portableHeader: PortableHeader,
): { localChecksum: number; portableChecksum: number } {
  const portableAt = at + LOCAL_HEADER_BYTES
  portable.encode(target, portableAt, { ...portableHeader, version: FORMAT_VERSION }, at + localHeader.headerBytes)
  const portableChecksum = portable.checksum(target, portableAt)
  local.encode(target, at, { ...localHeader, portableChecksum, version: FORMAT_VERSION })
  return { localChecksum: local.checksum(target, at), portableChecksum }
}

export interface DecodedFrame {
  readonly local: LocalHeader
  readonly portable: PortableHeader
  readonly localChecksum: number
  readonly portableChecksum: number
  readonly extents: readonly Extent[]
  readonly pageChecksums: readonly number[]
}

function decodeLocalHeader(source: Buffer, at: number): LocalHeader | undefined {
  const header = local.read(source, at)
  return header === undefined || header.version > FORMAT_VERSION ? undefined : header
}

/**
 * A frame whose headers, extents and page checksums verify and agree with each other, all of it inside the source; else undefined. The data is
 * not verified here.
 */
export function decodeFrame(source: Buffer, at: number): DecodedFrame | undefined {
  const localHeader = decodeLocalHeader(source, at)
  if (localHeader === undefined) return undefined
  const { headerBytes, frameBytes } = localHeader
  if (headerBytes < LOCAL_HEADER_BYTES + PORTABLE_HEADER_BYTES || frameBytes > MAXIMUM_FRAME_BYTES) return undefined
  if (headerBytes > frameBytes || frameBytes % SECTOR_BYTES !== 0 || at + frameBytes > source.length) return undefined
  const portableAt = at + LOCAL_HEADER_BYTES
  if (!portable.hasMagic(source, portableAt) || !portable.verify(source, portableAt, at + headerBytes)) return undefined
  if (portable.checksum(source, portableAt) !== localHeader.portableChecksum) return undefined
  const portableHeader = portable.decode(source, portableAt)
  if (portableHeader === undefined || portableHeader.version > FORMAT_VERSION) return undefined
  const { extentCount, checksumCount, dataSectors } = portableHeader
  if (portableHeader.kind !== localHeader.kind) return undefined
  const isWrite = portableHeader.kind === FRAME_KIND.writes
  if (!isWrite && portableHeader.kind !== FRAME_KIND.copies) return undefined
  if (portableHeader.lsnUnits !== (isWrite ? lsnUnitsOf(headerBytes, dataSectors) : 0)) return undefined
  if (frameHeaderBytes(extentCount, checksumCount) !== headerBytes) return undefined
  if (frameDataOffset(headerBytes) + dataSectors * SECTOR_BYTES > frameBytes) return undefined
  const extents: Extent[] = []
  let pages = 0
  let sectors = 0
  for (let index = 0; index < extentCount; index++) {
    const extentAt = extentOffset(at, index)
    const extent = {
      page: source.readUInt32LE(extentAt),
      count: source.readUInt32LE(extentAt + 8),
      kind: source.readUInt8(extentAt + 12),
      sectorMap: source.readUInt8(extentAt + 13),
    }
    if (extent.kind === EXTENT_KIND.data) {
      pages += extent.count
      sectors += extent.count * sectorCount(extent.sectorMap)
    }
    extents.push(extent)
  }
  if (pages !== checksumCount || sectors !== dataSectors) return undefined
  const pageChecksums: number[] = []
  for (let index = 0; index < checksumCount; index++) {
    pageChecksums.push(source.readUInt32LE(pageChecksumOffset(at, extentCount, index)))
  }
  return {
    local: localHeader,
    portable: portableHeader,
    localChecksum: local.checksum(source, at),
    portableChecksum: localHeader.portableChecksum,
    extents,
    pageChecksums,
  }
}

const SECTOR_COUNTS = Uint8Array.from({ length: 256 }, (_, map) => {
  let count = 0
  for (let rest = map; rest > 0; rest >>= 1) count += rest & 1
  return count
})

/** Sectors that a sector map says are valid. */
export function sectorCount(sectorMap: number): number {
  return SECTOR_COUNTS[sectorMap]!
}
