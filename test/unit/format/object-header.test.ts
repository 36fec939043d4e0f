import { expect, test } from 'vitest'
import { CHUNK_HEADER_BYTES, decodeChunkHeader, readChunkHeader } from '../../../src/format/chunk-header.js'
import {
  OBJECT_FLAG,
  changeObjectFlags,
  decodeObjectHeader,
  encodeObjectHeader,
  objectBlockChecksum,
} from '../../../src/format/object-header.js'
import { chunkHeader, objectHeader } from './samples.js'
import { encodeChunkHeader } from '../../../src/format/chunk-header.js'

const SECTOR = 512

function encoded(checksums = Uint32Array.of(1, 0xffff_ffff)): Buffer {
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeObjectHeader(bytes, 0, objectHeader, checksums)
  return bytes
}

test('is a chunk header to whoever asks whose chunk it is', () => {
  expect(readChunkHeader(encoded(), 0)).toEqual({ kind: 'object', cacheId: objectHeader.cacheId })
  expect(decodeChunkHeader(encoded(), 0)).toBeUndefined()
})

test('the header of a log is none', () => {
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeChunkHeader(bytes, 0, chunkHeader)
  expect(decodeObjectHeader(bytes, 0)).toBeUndefined()
})

test('has a checksum for each block of the largest chunk', () => {
  const checksums = Uint32Array.from({ length: 512 }, (_, block) => block * 0x0101_0101)
  const bytes = encoded(checksums)
  expect(decodeObjectHeader(bytes, 0)).toMatchObject(objectHeader)
  for (const [block, checksum] of checksums.entries()) expect(objectBlockChecksum(bytes, 0, block)).toBe(checksum)
})

test('other flags change nothing but its first sector', () => {
  const bytes = encoded()
  const before = Buffer.from(bytes)
  changeObjectFlags(bytes, 0, objectHeader, OBJECT_FLAG.deleted)
  expect(decodeObjectHeader(bytes, 0)).toEqual({ ...objectHeader, flags: OBJECT_FLAG.deleted })
  expect(bytes.subarray(SECTOR)).toEqual(before.subarray(SECTOR))
})

test('says which chunk it is also where the rest is not whole', () => {
  const bytes = encoded()
  bytes[SECTOR + 100]! ^= 1
  expect(decodeObjectHeader(bytes, 0)).toEqual({ ...objectHeader, seal: undefined })
  const mixed = encoded()
  const older = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeObjectHeader(older, 0, { ...objectHeader, generation: objectHeader.generation - 1 }, Uint32Array.of())
  older.copy(mixed, SECTOR, SECTOR)
  expect(decodeObjectHeader(mixed, 0)?.seal).toBeUndefined()
})
