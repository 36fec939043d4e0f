import { CHUNK_HEADER_BYTES, encodeChunkHeader, freeChunkHeader } from '../../format/chunk-header.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Chunk } from './chunk-source.js'

/** Raises the generation of a chunk and writes that it is free, on stable storage. */
export async function writeFreeHeader(chunk: Chunk, cacheId: string, now: number): Promise<void> {
  const bytes = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    encodeChunkHeader(bytes, 0, freeChunkHeader(cacheId, ++chunk.generation, now))
    await chunk.device.write(chunk.offset, bytes)
    await chunk.device.commit([{ offset: chunk.offset, length: CHUNK_HEADER_BYTES }])
  } finally {
    releaseAligned(bytes)
  }
}
