import { crc32 } from '@node-rs/crc32'

/** CRC-32 (ISO 3309, as zlib computes it) of `bytes[start, end)`. Twice as fast as zlib's own, which every page of a read feels. */
export function checksumOf(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return crc32(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end))
}

/**
 * Makes the function that finds the checksum of pieces of `pieceBytes` (a power of two) which stand back to back, from those
 * of the pieces, `checksums[first, first + count)`: so many of them are verified by one call of {@link checksumOf}, which
 * costs half as much as one for each. One changed piece is noticed as surely as by its own checksum, since each counts
 * through a map that can be inverted.
 *
 * A CRC is the remainder of a polynomial over GF(2). That of two pieces is the first one's times x^(8 * pieceBytes), plus
 * the second one's; multiplication by a constant is linear, so four tables of 256 words do it (Sarwate 1988; crc32_combine of zlib).
 */
export function checksumJoiner(pieceBytes: number): (checksums: Uint32Array, first: number, count: number) => number {
  let tables: Uint32Array | undefined
  return (checksums, first, count) => {
    tables ??= multiplicationTables(powerOfX(8 * pieceBytes))
    let joined = checksums[first]!
    for (let index = first + 1; index < first + count; index++) {
      joined =
        tables[joined & 0xff]! ^
        tables[0x100 + ((joined >>> 8) & 0xff)]! ^
        tables[0x200 + ((joined >>> 16) & 0xff)]! ^
        tables[0x300 + (joined >>> 24)]! ^
        checksums[index]!
    }
    return joined >>> 0
  }
}

/** x^32 modulo the polynomial; polynomials have their coefficient of x^0 in the highest bit. */
const POLYNOMIAL = 0xedb88320
const ONE = 0x8000_0000
const X = 0x4000_0000

/** x to the power of `exponent`, a power of two. */
function powerOfX(exponent: number): number {
  let power = X
  for (let reached = 1; reached < exponent; reached *= 2) power = product(power, power)
  return power
}

/** For each byte of a word, from the lowest: its product with `factor`. */
function multiplicationTables(factor: number): Uint32Array {
  return Uint32Array.from({ length: 4 * 256 }, (_, index) => product(factor, (index & 0xff) << (8 * (index >>> 8))))
}

function product(left: number, right: number): number {
  let sum = 0
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((right & bit) !== 0) sum ^= left
    left = (left & 1) === 0 ? left >>> 1 : (left >>> 1) ^ POLYNOMIAL
  }
  return sum
}
