/** What holds for every structure on the device. */
import { describe, expect, test } from 'vitest'
import { SAMPLES } from './samples.js'

describe.each(SAMPLES)('$name', ({ bytes, coveredBytes, decode, values }) => {
  test('is read as it was written', () => {
    expect(decode(bytes)).toMatchObject(values as object)
  })

  test('every flipped bit is noticed', () => {
    const flipped = Buffer.from(bytes)
    for (let bit = 0; bit < coveredBytes * 8; bit++) {
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      if (decode(flipped) !== undefined) expect.fail(`bit ${bit & 7} of byte ${bit >> 3} may be wrong`)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
    }
    expect(decode(flipped)).toMatchObject(values as object)
  })

  test('cut at any byte it is none', () => {
    for (let length = 0; length < bytes.length; length++) {
      if (decode(Buffer.from(bytes.subarray(0, length))) !== undefined) expect.fail(`${length} bytes are taken for it`)
    }
  })

  test('all zeroes, or all ones, are none', () => {
    expect(decode(Buffer.alloc(bytes.length))).toBeUndefined()
    expect(decode(Buffer.alloc(bytes.length, 0xff))).toBeUndefined()
  })

  test('another structure is none', () => {
    for (const other of SAMPLES) {
      if (other.bytes === bytes) continue
      const padded = Buffer.alloc(Math.max(bytes.length, other.bytes.length))
      other.bytes.copy(padded)
      expect(decode(padded)).toBeUndefined()
    }
  })
})
