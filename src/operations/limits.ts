import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import {
  MINIMUM_CHUNK_BYTES,
  MINIMUM_SHARE_CHUNKS,
  PAGE_BYTES,
  MAXIMUM_BLOCK_PAGES,
  MAXIMUM_CHUNK_BYTES,
} from '../model/geometry.js'

/** What a disk is promised and allowed of its cache. */
export interface Limits {
  readonly minBytes: number
  /** Null: the whole cache. */
  readonly maxBytes: number | null
  readonly shares: number
}

export const MAXIMUM_SHARES = 1_000_000

/** Throws where a disk of a cache with such chunks cannot have these limits. */
export function checkLimits({ minBytes, maxBytes, shares }: Limits, chunkBytes: number): void {
  if (!isCount(minBytes)) throw badSize('min', minBytes)
  if (maxBytes !== null && !isCount(maxBytes)) throw badSize('max', maxBytes)
  if (!Number.isInteger(shares) || shares < 1 || shares > MAXIMUM_SHARES) {
    throw new VmcacheError('USAGE', `shares are ${shares}, expected a whole number from 1 to ${MAXIMUM_SHARES}`)
  }
  if (maxBytes === null) return
  if (maxBytes < minBytes) {
    throw new VmcacheError('BAD_SIZE', `max ${formatSize(maxBytes)} is less than min ${formatSize(minBytes)}`)
  }
  const least = MINIMUM_SHARE_CHUNKS * chunkBytes
  if (maxBytes < least) {
    throw new VmcacheError(
      'BAD_SIZE',
      `max ${formatSize(maxBytes)} is less than ${MINIMUM_SHARE_CHUNKS} chunks of ${formatSize(chunkBytes)}`,
      { hint: `give at least ${formatSize(least)}${smallerChunks(maxBytes)}` },
    )
  }
}

/** The chunk size with which a share of `bytes` would do, as the end of a hint; nothing where none would. */
function smallerChunks(bytes: number): string {
  const fitting = 2 ** Math.floor(Math.log2(bytes / MINIMUM_SHARE_CHUNKS))
  return fitting < MINIMUM_CHUNK_BYTES ? '' : `, or use a cache with chunks of ${formatSize(fitting)}`
}

/** Throws unless a cache can have blocks and chunks of these sizes. */
export function checkGeometry(blockBytes: number, chunkBytes: number): void {
  const within = (bytes: number, least: number, most: number) =>
    Number.isInteger(Math.log2(bytes)) && bytes >= least && bytes <= most
  if (!within(blockBytes, PAGE_BYTES, MAXIMUM_BLOCK_PAGES * PAGE_BYTES)) {
    throw new VmcacheError('BAD_SIZE', `block size is ${blockBytes} bytes, expected a power of two from 4k to 64k`)
  }
  if (!within(chunkBytes, MINIMUM_CHUNK_BYTES, MAXIMUM_CHUNK_BYTES)) {
    throw new VmcacheError(
      'BAD_SIZE',
      `chunk size is ${chunkBytes} bytes, expected a power of two from ${formatSize(MINIMUM_CHUNK_BYTES)} to ${formatSize(MAXIMUM_CHUNK_BYTES)}`,
    )
  }
}

function isCount(bytes: number): boolean {
  return Number.isSafeInteger(bytes) && bytes >= 0
}

function badSize(what: string, bytes: number): VmcacheError {
  return new VmcacheError('BAD_SIZE', `${what} is ${bytes}, expected a number of bytes`)
}
