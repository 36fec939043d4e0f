import { SECTOR_BYTES } from '../../../src/model/geometry.js'

/** What a sector holds: the number of the write that put it there, 0 for zeroes. */
export const ZEROES = 0
/** A sector that no write to it can have left: torn within, of another sector, or of nobody. */
export const FOREIGN = -1

const PRIME = 0x9e3779b1
const zeroes = Buffer.alloc(SECTOR_BYTES)

/** `count` sectors from `first` on, as write `number` leaves them; each says which sector it is. */
export function stampedSectors(first: number, count: number, number: number): Buffer {
  const bytes = Buffer.alloc(count * SECTOR_BYTES)
  if (number === ZEROES) return bytes
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  for (let word = 0; word < words.length; word += 2) {
    words[word] = number
    words[word + 1] = Math.imul(first + (((word * 4) / SECTOR_BYTES) | 0) + 1, PRIME) ^ (word % (SECTOR_BYTES / 4))
  }
  return bytes
}

/** The number that a sector is stamped with. */
export function stampOf(sector: number, bytes: Buffer): number {
  const number = bytes.readUInt32LE(0)
  const expected = number === ZEROES ? zeroes : stampedSectors(sector, 1, number)
  return bytes.equals(expected) ? number : FOREIGN
}

/** A stamp for people. */
export function nameOf(stamp: number): string {
  if (stamp === ZEROES) return 'zeroes'
  return stamp === FOREIGN ? 'noise' : `write ${stamp}`
}
