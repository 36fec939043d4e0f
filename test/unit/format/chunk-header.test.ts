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
} from '../../../src/format/chunk-header.js'
import { chunkHeader, sampleId } from './samples.js'

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

test('a newer header is none', () => {
  const bytes = encoded(chunkHeader)
  bytes.writeUInt16LE(2, 8)
  bytes.writeUInt32LE(checksumOf(bytes, 4), 0)
  expect(decodeChunkHeader(bytes, 0)).toBeUndefined()
})

test('a free header says whose cache it is, and the generation that is used up', () => {
  const free = freeChunkHeader(sampleId(1), 99, 5)
  expect(decodeChunkHeader(encoded(free), 0)).toMatchObject(free)
  expect(free).toMatchObject({ kind: CHUNK_KIND.free, cacheId: sampleId(1), generation: 99, logId: '0'.repeat(32) })
})
