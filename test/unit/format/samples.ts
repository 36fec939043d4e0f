/** One instance of each structure on the device, and how each is encoded and decoded: what unit, golden and fuzz tests share. */
import { checksumOf } from '../../../src/base/checksum.js'
import {
  CHUNK_HEADER_BYTES,
  CHUNK_KIND,
  decodeChunkHeader,
  encodeChunkHeader,
  type ChunkHeader,
} from '../../../src/format/chunk-header.js'
import {
  EXTENT_KIND,
  FRAME_FLAG,
  FRAME_KIND,
  decodeFrame,
  encodeExtent,
  encodeFrameHeaders,
  extentOffset,
  frameDataOffset,
  frameHeaderBytes,
  lsnUnitsOf,
  pageChecksumOffset,
  roundUp,
  sectorCount,
  type Extent,
} from '../../../src/format/frame.js'
import {
  OBJECT_FLAG,
  decodeObjectHeader,
  encodeObjectHeader,
  type ObjectHeader,
  type ObjectSeal,
} from '../../../src/format/object-header.js'
import {
  TRAILER_BYTES,
  decodeSummaryTrailer,
  encodeSummaryTrailer,
  type SummaryTrailer,
} from '../../../src/format/summary.js'
import {
  FIRST_CHUNK_OFFSET,
  FORMAT_VERSION,
  SUPERBLOCK_BYTES,
  decodeSuperblock,
  encodeSuperblock,
  type Superblock,
} from '../../../src/format/superblock.js'

const SECTOR = 512

/** 32 hexadecimal digits that count up from `first`. */
export function sampleId(first: number): string {
  return Buffer.from(Array.from({ length: 16 }, (_, index) => (first + index) % 256)).toString('hex')
}

export const superblock: Superblock = {
  version: FORMAT_VERSION,
  deviceIndex: 1,
  deviceCount: 2,
  flags: 0,
  cacheId: sampleId(0x10),
  deviceId: sampleId(0x30),
  hostId: sampleId(0x50),
  writeCount: 0x0102_0304,
  openCount: 7,
  createdAt: 1_795_176_000_000,
  firstChunkOffset: FIRST_CHUNK_OFFSET,
  chunkBytes: 16 * 1024 * 1024,
  chunkCount: 600,
  logicalBlockBytes: 512,
  blockBytes: 16384,
  cacheName: 'schnell-ü',
  devices: [
    { id: sampleId(0x70), chunkCount: 1000 },
    { id: sampleId(0x30), chunkCount: 600 },
  ],
}

export const chunkHeader: ChunkHeader = {
  kind: CHUNK_KIND.log,
  phase: 1,
  level: 2,
  stream: 3,
  flags: 0,
  cacheId: sampleId(0x10),
  generation: 7 * 2 ** 24 + 5,
  logId: sampleId(0x90),
  sequence: 42,
  session: 3,
  sessionStart: 40,
  firstFrame: 2 ** 40 + 9,
  firstLsn: 2 ** 45 + 11,
  previousFrameChecksum: 0xdead_beef,
  previousWriteChecksum: 0xfeed_face,
  settledLsn: 2 ** 45 + 10,
  stableFrame: 2 ** 40 + 3,
  floor: 0,
  epoch: 12,
  createdAt: 1_795_176_001_234,
  bootId: sampleId(0xb0),
  diskBytes: 10 * 2 ** 30,
  diskName: 'web01/vda',
  origin: 'nbd+unix:///web01?socket=/run/web01.sock',
}

export const objectHeader: ObjectHeader & { seal: ObjectSeal } = {
  flags: OBJECT_FLAG.sealed,
  cacheId: sampleId(0x10),
  generation: 7 * 2 ** 24 + 6,
  objectId: sampleId(0xd0),
  number: 5,
  createdAt: 1_795_176_003_210,
  seal: {
    chunkCount: 64,
    attributeBytes: 1234,
    streamBytes: 2 ** 30 - 77,
    vm: sampleId(0xf0),
    name: 'db-07 (übung)',
  },
}

export const summaryTrailer: SummaryTrailer = {
  flags: 0,
  entryCount: 3,
  entriesChecksum: 0x0bad_cafe,
  endOffset: 0x00ff_0000,
  generation: 7 * 2 ** 24 + 5,
  logId: sampleId(0x90),
  session: 3,
  sequence: 42,
  nextFrame: 2 ** 40 + 99,
  nextLsn: 2 ** 45 + 777,
  lastFrameChecksum: 0x1234_5678,
  lastWriteChecksum: 0x8765_4321,
  settledLsn: 2 ** 45 + 700,
  writtenAt: 1_795_176_005_678,
}

export interface SampleFrame {
  readonly bytes: Buffer
  readonly headerBytes: number
  readonly extents: readonly Extent[]
  readonly pageChecksums: readonly number[]
  readonly localChecksum: number
  readonly portableChecksum: number
}

/** A frame of these extents, with data that tells its sectors apart. */
export function frameOf(
  extents: readonly Extent[],
  { kind = FRAME_KIND.writes as number, block = 512 } = {},
): SampleFrame {
  const data = extents.filter((extent) => extent.kind === EXTENT_KIND.data)
  const pages = data.reduce((sum, { count }) => sum + count, 0)
  const sectors = data.reduce((sum, { count, sectorMap }) => sum + count * sectorCount(sectorMap), 0)
  const headerBytes = frameHeaderBytes(extents.length, pages)
  const dataOffset = frameDataOffset(headerBytes)
  const frameBytes = roundUp(dataOffset + sectors * SECTOR, block)
  const bytes = Buffer.alloc(frameBytes)
  extents.forEach(({ kind: extentKind, page, count, sectorMap }, index) =>
    encodeExtent(bytes, extentOffset(0, index), extentKind, page, count, sectorMap),
  )
  const pageChecksums: number[] = []
  let at = dataOffset
  for (const { count, sectorMap } of data) {
    for (let page = 0; page < count; page++) {
      const length = sectorCount(sectorMap) * SECTOR
      bytes.fill(pageChecksums.length + 1, at, at + length)
      const checksum = checksumOf(bytes, at, at + length)
      bytes.writeUInt32LE(checksum, pageChecksumOffset(0, extents.length, pageChecksums.length))
      pageChecksums.push(checksum)
      at += length
    }
  }
  const sums = encodeFrameHeaders(
    bytes,
    0,
    {
      kind,
      stream: 0,
      headerBytes,
      frameBytes,
      generation: chunkHeader.generation,
      session: chunkHeader.session,
      frame: chunkHeader.firstFrame + 1,
      stableFrame: chunkHeader.stableFrame,
      floor: 0,
      previousChecksum: 0x0f0f_0f0f,
    },
    {
      kind,
      flags: FRAME_FLAG.barrier,
      extentCount: extents.length,
      checksumCount: pages,
      dataSectors: sectors,
      lsnUnits: kind === FRAME_KIND.writes ? lsnUnitsOf(headerBytes, sectors) : 0,
      previousWriteChecksum: 0xf0f0_f0f0,
      logId: chunkHeader.logId,
      epoch: chunkHeader.epoch,
      lsn: chunkHeader.firstLsn + 4,
      settledLsn: chunkHeader.settledLsn,
      writtenAt: 1_795_176_002_000,
    },
  )
  return { bytes, headerBytes, extents, pageChecksums, ...sums }
}

export const frame = frameOf([
  { kind: EXTENT_KIND.data, page: 1000, count: 2, sectorMap: 0xff },
  { kind: EXTENT_KIND.data, page: 0xffff_fffe, count: 1, sectorMap: 0b0001_0110 },
  { kind: EXTENT_KIND.zero, page: 5000, count: 4096, sectorMap: 0xff },
  { kind: EXTENT_KIND.trim, page: 7, count: 1, sectorMap: 0b1000_0000 },
])

/** A structure as its tests see it: its bytes, how many of them its checksums cover, and whether bytes are one. */
export interface Sample {
  readonly name: string
  readonly bytes: Buffer
  /** What lies behind is data, which the decoder does not look at. */
  readonly coveredBytes: number
  /** The decoded values; undefined where the bytes are not a valid instance. */
  readonly decode: (bytes: Buffer) => unknown
  readonly values: unknown
}

function encoded(length: number, encode: (target: Buffer) => void): Buffer {
  const target = Buffer.alloc(length)
  encode(target)
  return target
}

export const SAMPLES: readonly Sample[] = [
  {
    name: 'superblock',
    bytes: encodeSuperblock(superblock),
    coveredBytes: SUPERBLOCK_BYTES,
    decode: (bytes) => {
      const reading = decodeSuperblock(bytes)
      return reading.kind === 'superblock' ? reading.superblock : undefined
    },
    values: superblock,
  },
  {
    name: 'chunk-header',
    bytes: encoded(CHUNK_HEADER_BYTES, (target) => encodeChunkHeader(target, 0, chunkHeader)),
    coveredBytes: CHUNK_HEADER_BYTES,
    decode: (bytes) => {
      const header = decodeChunkHeader(bytes, 0)
      return header?.diskName === '' ? undefined : header
    },
    values: chunkHeader,
  },
  {
    name: 'object-header',
    bytes: encoded(CHUNK_HEADER_BYTES, (target) =>
      encodeObjectHeader(target, 0, objectHeader, Uint32Array.of(0xdead_beef, 0, 0x0102_0304)),
    ),
    coveredBytes: CHUNK_HEADER_BYTES,
    decode: (bytes) => {
      const header = decodeObjectHeader(bytes, 0)
      return header?.seal === undefined ? undefined : header
    },
    values: objectHeader,
  },
  {
    name: 'frame',
    bytes: frame.bytes,
    coveredBytes: frame.headerBytes,
    decode: (bytes) => decodeFrame(bytes, 0)?.extents,
    values: frame.extents,
  },
  {
    name: 'summary-trailer',
    bytes: encoded(TRAILER_BYTES, (target) => encodeSummaryTrailer(target, 0, summaryTrailer)),
    coveredBytes: TRAILER_BYTES,
    decode: (bytes) => decodeSummaryTrailer(bytes, 0),
    values: summaryTrailer,
  },
]
