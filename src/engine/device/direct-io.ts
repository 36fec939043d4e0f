import { addressOf, readFully, writeFully, type OpenFile } from '../../base/system-calls.js'
import { createBounceBuffers } from './bounce-buffers.js'

/**
 * Reads and writes of a file that is open with O_DIRECT, on threads of the pool. What is aligned to the logical block goes
 * straight between memory and device; anything else goes through bounce buffers, in pieces that run side by side.
 */
export interface DirectIo {
  /** Any range; the file holds every logical block that it touches. */
  read(offset: number, target: Uint8Array, at: number, length: number): Promise<void>
  /** Whole logical blocks. */
  write(offset: number, bytes: Uint8Array): Promise<void>
}

export const BOUNCE_BUFFER_BYTES = 128 * 1024

/** `bounceBuffers` bounds the memory, and so the pieces, of unaligned requests. */
export function createDirectIo(file: OpenFile, logicalBlockBytes: number, bounceBuffers: number): DirectIo {
  const buffers = createBounceBuffers(BOUNCE_BUFFER_BYTES, bounceBuffers)
  const isAligned = (value: number): boolean => value % logicalBlockBytes === 0

  return {
    async read(offset, target, at, length) {
      if (isAligned(offset) && isAligned(length) && isAligned(addressOf(target) + at)) {
        return readFully(file, offset, target, at, length)
      }
      await inPieces(offset, length, (start, end) =>
        buffers.use(async (buffer) => {
          const first = start - (start % logicalBlockBytes)
          const blocks = Math.ceil((end - first) / logicalBlockBytes)
          await readFully(file, first, buffer, 0, blocks * logicalBlockBytes)
          target.set(buffer.subarray(start - first, end - first), at + start - offset)
        }),
      )
    },
    async write(offset, bytes) {
      if (isAligned(addressOf(bytes))) return writeFully(file, offset, bytes)
      await inPieces(offset, bytes.length, (start, end) =>
        buffers.use(async (buffer) => {
          buffer.set(bytes.subarray(start - offset, end - offset))
          await writeFully(file, start, buffer.subarray(0, end - start))
        }),
      )
    },
  }
}

/**
 * Splits a range at multiples of the bounce buffer's size. Ends when every piece has ended, so that nothing touches the
 * caller's memory afterwards; rejects with the first failure.
 */
async function inPieces(
  offset: number,
  length: number,
  transfer: (start: number, end: number) => Promise<void>,
): Promise<void> {
  const pieces: Promise<void>[] = []
  for (let start = offset; start < offset + length;) {
    const end = Math.min(start - (start % BOUNCE_BUFFER_BYTES) + BOUNCE_BUFFER_BYTES, offset + length)
    pieces.push(transfer(start, end))
    start = end
  }
  const outcomes = await Promise.allSettled(pieces)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason as Error
}
