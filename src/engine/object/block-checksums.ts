import { checksumOf } from '../../base/checksum.js'
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { OBJECT_BLOCK_BYTES } from '../../format/object-header.js'

/**
 * Calls `each` with the number and the checksum of every block of a piece of a chunk, which begins `offset` bytes from the chunk's start, with a
 * block.
 */
export function eachBlock(bytes: Buffer, offset: number, each: (block: number, checksum: number) => void): void {
  let block = (offset - CHUNK_HEADER_BYTES) / OBJECT_BLOCK_BYTES
  for (let at = 0; at < bytes.length; at += OBJECT_BLOCK_BYTES) {
    each(block++, checksumOf(bytes, at, Math.min(at + OBJECT_BLOCK_BYTES, bytes.length)))
  }
}
