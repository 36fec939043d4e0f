import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { OBJECT_FLAG, changeObjectFlags, decodeObjectHeader } from '../../format/object-header.js'
import { commitChunks } from './commit-chunks.js'
import { eachHeader } from './each-header.js'
import type { ObjectChunk } from './stored-object.js'

/**
 * Says in every chunk that the object is sealed, on stable storage. All else of the object is there already; from the first sector on
 * that is written it is sealed.
 */
export async function sealObject(chunks: readonly ObjectChunk[]): Promise<void> {
  await writeFlags(chunks, OBJECT_FLAG.sealed)
}

/** Writes other flags into headers that are on their devices, on stable storage. */
export async function writeFlags(chunks: readonly ObjectChunk[], flags: number): Promise<void> {
  await eachHeader(chunks, async ({ chunk: { device, offset }, header }, block) => {
    await device.read(offset, block, 0, CHUNK_HEADER_BYTES)
    // What is in the other sectors stays as it is, whole or not.
    changeObjectFlags(block, 0, decodeObjectHeader(block, 0) ?? header, flags)
    await device.write(offset, block)
  })
  await commitChunks(
    chunks.map(({ chunk }) => chunk),
    () => CHUNK_HEADER_BYTES,
  )
}
