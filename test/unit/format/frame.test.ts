import { describe, expect, test } from 'vitest'
import { checksumOf } from '../../../src/base/checksum.js'
import {
  EXTENT_BYTES,
  EXTENT_KIND,
  FRAME_KIND,
  LOCAL_HEADER_BYTES,
  MAXIMUM_FRAME_BYTES,
  PORTABLE_HEADER_BYTES,
  decodeFrame,
  frameDataOffset,
  frameHeaderBytes,
  lsnUnitsOf,
  sectorCount,
} from '../../../src/format/frame.js'
import { chunkHeader, frame, frameOf } from './samples.js'

const PORTABLE_CHECKSUM_AT = 64
const EXTENT_COUNT_AT = LOCAL_HEADER_BYTES + 12

/** The sample frame, changed, with every checksum right again: what only a bug or an attacker writes. */
function forged(change: (bytes: Buffer) => void, headerBytes = frame.headerBytes): Buffer {
  const bytes = Buffer.from(frame.bytes)
  change(bytes)
  bytes.writeUInt32LE(checksumOf(bytes, LOCAL_HEADER_BYTES + 4, headerBytes), LOCAL_HEADER_BYTES)
  bytes.writeUInt32LE(bytes.readUInt32LE(LOCAL_HEADER_BYTES), PORTABLE_CHECKSUM_AT)
  bytes.writeUInt32LE(checksumOf(bytes, 4, LOCAL_HEADER_BYTES), 0)
  return bytes
}

test('both headers, extents and checksums come back', () => {
  const decoded = decodeFrame(frame.bytes, 0)
  expect(decoded).toMatchObject({
    local: { kind: FRAME_KIND.writes, frame: chunkHeader.firstFrame + 1, frameBytes: frame.bytes.length },
    portable: { kind: FRAME_KIND.writes, logId: chunkHeader.logId, lsn: chunkHeader.firstLsn + 4, dataSectors: 19 },
    localChecksum: frame.localChecksum,
    portableChecksum: frame.portableChecksum,
    pageChecksums: frame.pageChecksums,
  })
  expect(forged(() => undefined)).toEqual(frame.bytes)
})

test('the local header names the portable one: parts of two frames do not go together', () => {
  const other = frameOf(frame.extents.map((extent, index) => (index === 0 ? { ...extent, page: 2000 } : extent)))
  const mixed = Buffer.concat([frame.bytes.subarray(0, LOCAL_HEADER_BYTES), other.bytes.subarray(LOCAL_HEADER_BYTES)])
  expect(decodeFrame(mixed, 0)).toBeUndefined()
})

test('a frame without extents is one block', () => {
  const empty = frameOf([], { kind: FRAME_KIND.copies })
  expect(empty.bytes.length).toBe(512)
  expect(decodeFrame(empty.bytes, 0)?.extents).toEqual([])
})

test('padded to the blocks of its device', () => {
  const large = frameOf([{ kind: EXTENT_KIND.data, page: 1, count: 1, sectorMap: 0xff }], { block: 4096 })
  expect(large.bytes.length).toBe(8192)
  expect(decodeFrame(large.bytes, 0)).toBeDefined()
})

describe('what does not agree with itself is no frame, whatever its checksums say', () => {
  test.each<[string, (bytes: Buffer) => void]>([
    ['one extent more', (bytes) => bytes.writeUInt32LE(5, EXTENT_COUNT_AT)],
    ['an endless number of extents', (bytes) => bytes.writeUInt32LE(0xffff_ffff, EXTENT_COUNT_AT)],
    ['an endless number of checksums', (bytes) => bytes.writeUInt32LE(0xffff_ffff, EXTENT_COUNT_AT + 4)],
    ['one sector more', (bytes) => bytes.writeUInt32LE(20, EXTENT_COUNT_AT + 8)],
    ['more sectors than the frame has', (bytes) => bytes.writeUInt32LE(0xffff_ffff, EXTENT_COUNT_AT + 8)],
    ['another number of LSN units', (bytes) => bytes.writeUInt32LE(1, EXTENT_COUNT_AT + 12)],
    ['copies in one header, writes in the other', (bytes) => bytes.writeUInt8(FRAME_KIND.copies, 10)],
    [
      'a kind that nobody knows',
      (bytes) => {
        bytes.writeUInt8(9, 10)
        bytes.writeUInt8(9, LOCAL_HEADER_BYTES + 10)
      },
    ],
    ['a newer local header', (bytes) => bytes.writeUInt16LE(2, 8)],
    ['a newer portable header', (bytes) => bytes.writeUInt16LE(2, LOCAL_HEADER_BYTES + 8)],
    ['an end inside of its headers', (bytes) => bytes.writeUInt32LE(0, 16)],
    ['an end inside of its data', (bytes) => bytes.writeUInt32LE(512, 16)],
    ['an end beyond its bytes', (bytes) => bytes.writeUInt32LE(frame.bytes.length + 512, 16)],
    ['an end beyond all bounds', (bytes) => bytes.writeUInt32LE(MAXIMUM_FRAME_BYTES + 512, 16)],
    ['an end inside of a sector', (bytes) => bytes.writeUInt32LE(frame.bytes.length - 1, 16)],
    ['a page more in an extent', (bytes) => bytes.writeUInt32LE(3, 160 + 8)],
    ['another sector in an extent', (bytes) => bytes.writeUInt8(0b0101_0110, 160 + EXTENT_BYTES + 13)],
  ])('%s', (_name, change) => {
    expect(decodeFrame(forged(change), 0)).toBeUndefined()
  })

  test('headers that end too early or too late', () => {
    for (const headerBytes of [0, 80, 159, 160, 0xffff_ffff]) {
      const end = Math.min(Math.max(headerBytes, 84), frame.bytes.length)
      expect(
        decodeFrame(
          forged((bytes) => bytes.writeUInt32LE(headerBytes, 12), end),
          0,
        ),
      ).toBeUndefined()
    }
  })
})

test('sizes: header, data on a sector, LSN units', () => {
  expect(frameHeaderBytes(0, 0)).toBe(LOCAL_HEADER_BYTES + PORTABLE_HEADER_BYTES)
  expect(frameHeaderBytes(2, 3)).toBe(160 + 32 + 12)
  expect(frameDataOffset(160)).toBe(512)
  expect(frameDataOffset(512)).toBe(512)
  expect(frameDataOffset(513)).toBe(1024)
  // A write of one page: one unit of portable part, eight of data.
  expect(lsnUnitsOf(frameHeaderBytes(1, 1), 8)).toBe(9)
  expect(lsnUnitsOf(frameHeaderBytes(1, 1000), 8000)).toBe(Math.ceil((80 + 16 + 4000) / 512) + 8000)
})

test('the sectors of a map are counted', () => {
  for (let map = 0; map < 256; map++) expect(sectorCount(map)).toBe(map.toString(2).replaceAll('0', '').length)
})
