import { addressOf, readFully, writeFully, type OpenFile } from '../../base/system-calls.js'
import { createBounceBuffers, type BounceBuffers } from './bounce-buffers.js'

/**
 * Reads and writes of a file that is open with O_DIRECT, on threads of the pool, one at a time for each call. What is aligned to the
 * logical block goes straight between memory and device; anything else goes through bounce buffers.
 */
export interface DirectIo {
  /** Any range; the file holds every logical block that it touches. */
  read(offset: number, target: Uint8Array, at: number, length: number): Promise<void>
  /** Whole logical blocks. */
  write(offset: number, bytes: Uint8Array): Promise<void>
}

/** Most requests are a few pages; a larger one than the second size is cut into pieces. */
const SMALL_BUFFER_BYTES = 64 * 1024
const LARGE_BUFFER_BYTES = 1024 * 1024

/** `buffers`: bounce buffers of either size that may be in use; further calls wait. */
export function createDirectIo(
  file: OpenFile,
  logicalBlockBytes: number,
  buffers: { readonly small: number; readonly large: number },
): DirectIo {
  const small = createBounceBuffers(SMALL_BUFFER_BYTES, buffers.small)
  const large = createBounceBuffers(LARGE_BUFFER_BYTES, buffers.large)
  const isAligned = (value: number): boolean => value % logicalBlockBytes === 0
  const buffersFor = (length: number): BounceBuffers => (length <= SMALL_BUFFER_BYTES ? small : large)

  return {
    async read(offset, target, at, length) {
      if (isAligned(offset) && isAligned(length) && isAligned(addressOf(target) + at)) {
        return readFully(file, offset, target, at, length)
      }
      const first = offset - (offset % logicalBlockBytes)
      const end = Math.ceil((offset + length) / logicalBlockBytes) * logicalBlockBytes
      await buffersFor(end - first).use(async (buffer) => {
        for (let position = first; position < end; position += buffer.length) {
          const pieceBytes = Math.min(buffer.length, end - position)
          await readFully(file, position, buffer, 0, pieceBytes)
          const from = Math.max(position, offset)
          const to = Math.min(position + pieceBytes, offset + length)
          target.set(buffer.subarray(from - position, to - position), at + from - offset)
        }
      })
    },
    async write(offset, bytes) {
      if (isAligned(addressOf(bytes))) return writeFully(file, offset, bytes)
      await buffersFor(bytes.length).use(async (buffer) => {
        for (let done = 0; done < bytes.length; done += buffer.length) {
          const piece = bytes.subarray(done, done + buffer.length)
          buffer.set(piece)
          await writeFully(file, offset + done, buffer.subarray(0, piece.length))
        }
      })
    },
  }
}
