import { expect, test } from 'vitest'
import { checksumOf } from '../../../src/base/checksum.js'
import {
  CHUNK_HEADER_BYTES,
  CHUNK_KIND,
  MAXIMUM_DISK_NAME_BYTES,
  MAXIMUM_ORIGIN_BYTES,
  decodeChunkHeader,
  encodeChunkHeader,
  freeChunkHeader,
  readChunkHeader,
} from '../../../src/format/chunk-header.js'
import { chunkHeader, sampleId } from './samples.js'

const SECTOR = 512

function encoded(header: typeof chunkHeader): Buffer {
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeChunkHeader(bytes, 0, header)
  return bytes
}

test('the longest names fit', () => {
  const long = {
    ...chunkHeader,
    diskName: 'd'.repeat(MAXIMUM_DISK_NAME_BYTES),
    origin: 'o'.repeat(MAXIMUM_ORIGIN_BYTES),
  }
  expect(decodeChunkHeader(encoded(long), 0)).toMatchObject(long)
})

test('a header inside of a buffer is found where it is', () => {
  const buffer = Buffer.alloc(3 * CHUNK_HEADER_BYTES)
  encodeChunkHeader(buffer, CHUNK_HEADER_BYTES, chunkHeader)
  expect(decodeChunkHeader(buffer, CHUNK_HEADER_BYTES)).toMatchObject(chunkHeader)
  expect(decodeChunkHeader(buffer, 0)).toBeUndefined()
})

test('a newer header is told apart from a damaged one, and a damaged one from none', () => {
  const bytes = encoded(chunkHeader)
  bytes.writeUInt16LE(2, 8)
  expect(readChunkHeader(bytes, 0)).toEqual({ kind: 'damaged' })
  bytes.writeUInt32LE(checksumOf(bytes, 4, SECTOR), 0)
  expect(readChunkHeader(bytes, 0)).toEqual({ kind: 'newer', version: 2 })
  expect(decodeChunkHeader(bytes, 0)).toBeUndefined()
  expect(readChunkHeader(Buffer.alloc(CHUNK_HEADER_BYTES), 0)).toEqual({ kind: 'unused' })
})

test('all that the log needs is in the first sector: every bit of it counts, and the rest may be lost', () => {
  const bytes = encoded(chunkHeader)
  bytes.fill(0xa5, SECTOR)
  expect(decodeChunkHeader(bytes, 0)).toMatchObject({ ...chunkHeader, diskName: '', origin: '' })
  for (let bit = 0; bit < SECTOR * 8; bit++) {
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    expect(readChunkHeader(bytes, 0).kind).toBe('damaged')
    bytes[bit >> 3]! ^= 1 << (bit & 7)
  }
})

test('D2: names of an earlier life of the chunk are not the names of this one', () => {
  const before = encoded({ ...chunkHeader, diskName: 'other/vda', generation: chunkHeader.generation - 1 })
  const torn = Buffer.concat([encoded(chunkHeader).subarray(0, SECTOR), before.subarray(SECTOR)])
  expect(decodeChunkHeader(torn, 0)).toMatchObject({ ...chunkHeader, diskName: '', origin: '' })
})

test('a free header says whose cache it is, and the generation that is used up', () => {
  const free = freeChunkHeader(sampleId(1), 99, 5)
  expect(decodeChunkHeader(encoded(free), 0)).toMatchObject(free)
  expect(free).toMatchObject({ kind: CHUNK_KIND.free, cacheId: sampleId(1), generation: 99, logId: '0'.repeat(32) })
})
