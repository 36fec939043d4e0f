import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { checksumJoiner, checksumOf } from '../../../src/base/checksum.js'
import { SeededRandom } from '../../../src/base/random.js'

const random = new SeededRandom(7)

function randomBytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

test('is the CRC-32 of zlib, of all bytes and of some', () => {
  const bytes = randomBytes(1000)
  expect(checksumOf(bytes)).toBe(crc32(bytes))
  expect(checksumOf(bytes, 3, 700)).toBe(crc32(bytes.subarray(3, 700)))
  expect(checksumOf(Buffer.from('123456789'))).toBe(0xcbf43926)
})

test.each([1, 64, 4096])('the checksum of pieces of %i bytes follows from those of the pieces', (pieceBytes) => {
  const bytes = randomBytes(9 * pieceBytes)
  const checksums = Uint32Array.from({ length: 9 }, (_, index) =>
    crc32(bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes)),
  )
  const joined = checksumJoiner(pieceBytes)
  for (let first = 0; first < 9; first++) {
    for (let count = 1; first + count <= 9; count++) {
      const expected = crc32(bytes.subarray(first * pieceBytes, (first + count) * pieceBytes))
      expect(joined(checksums, first, count)).toBe(expected)
    }
  }
})

test('every changed bit of any one checksum shows, and so do pieces that changed places', () => {
  const joined = checksumJoiner(4096)
  const checksums = Uint32Array.from({ length: 16 }, () => random.below(2 ** 32))
  const right = joined(checksums, 0, 16)
  for (let index = 0; index < 16; index++) {
    for (let bit = 0; bit < 32; bit++) {
      const changed = checksums.slice()
      changed[index]! ^= 1 << bit
      expect(joined(changed, 0, 16)).not.toBe(right)
    }
  }
  const swapped = checksums.slice()
  swapped[3] = checksums[9]!
  swapped[9] = checksums[3]!
  expect(joined(swapped, 0, 16)).not.toBe(right)
})
