import { expect, test } from 'vitest'
import { checksumOf } from '../../../src/base/checksum.js'
import {
  SUMMARY_ENTRY_BYTES,
  TRAILER_BYTES,
  decodeSummaryTrailer,
  encodeSummaryTrailer,
  summaryBytes,
} from '../../../src/format/summary.js'
import { summaryTrailer } from './samples.js'

test('a newer trailer is none', () => {
  const bytes = Buffer.alloc(TRAILER_BYTES)
  encodeSummaryTrailer(bytes, 0, summaryTrailer)
  bytes.writeUInt16LE(2, 8)
  bytes.writeUInt32LE(checksumOf(bytes, 4), 0)
  expect(decodeSummaryTrailer(bytes, 0)).toBeUndefined()
})

test('a summary is made of whole blocks and has room for its entries and its trailer', () => {
  for (const block of [512, 4096]) {
    for (const entries of [0, 1, 32, 33, 4096, 65536]) {
      const bytes = summaryBytes(entries, block)
      expect(bytes % block).toBe(0)
      expect(bytes).toBeGreaterThanOrEqual(entries * SUMMARY_ENTRY_BYTES + TRAILER_BYTES)
      expect(bytes - block).toBeLessThan(entries * SUMMARY_ENTRY_BYTES + TRAILER_BYTES)
    }
  }
})
