import { CHUNK_HEADER_BYTES, encodeChunkHeader, freeChunkHeader } from '../../format/chunk-header.js'
import { OBJECT_FLAG } from '../../format/object-header.js'
import type { Chunk } from '../log/chunk-source.js'
import { commitChunks } from './commit-chunks.js'
import { eachHeader } from './each-header.js'
import { writeFlags } from './seal-object.js'
import type { StoredObject } from './stored-object.js'

/** Raises the generations of chunks and writes that they are free, on stable storage. */
export async function freeChunks(chunks: readonly Chunk[], cacheId: string, now: number): Promise<void> {
  await eachHeader(chunks, async (chunk, block) => {
    encodeChunkHeader(block, 0, freeChunkHeader(cacheId, ++chunk.generation, now))
    await chunk.device.write(chunk.offset, block)
  })
  await commitChunks(chunks, () => CHUNK_HEADER_BYTES)
}

/**
 * Frees the chunks of an object; however far it comes, the object is whole or nothing afterwards. Returns them. Where there may be `others`
 * that cannot be reached now, the one that says that the object is deleted is kept for them.
 */
export async function freeObject(
  { state, chunks }: StoredObject,
  cacheId: string,
  now: number,
  others = false,
): Promise<Chunk[]> {
  const isMark = ({ header }: (typeof chunks)[number]): boolean => (header.flags & OBJECT_FLAG.deleted) !== 0
  const mark = chunks.find(isMark) ?? chunks[0]!
  // What was never sealed is nothing already.
  if (state === 'sealed') await writeFlags([mark], OBJECT_FLAG.deleted)
  const rest = chunks.flatMap((each) => (each === mark ? [] : [each.chunk]))
  await freeChunks(rest, cacheId, now)
  if (others) return rest
  await freeChunks([mark.chunk], cacheId, now)
  return [...rest, mark.chunk]
}
