import { crc32 } from 'node:zlib'

/** CRC-32 (ISO 3309, as zlib computes it) of `bytes[start, end)`. */
export function checksumOf(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return crc32(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end))
}
