import { OBJECT_FLAG, type ObjectSeal } from '../../format/object-header.js'
import { readStream } from './read-object.js'
import { sealObject } from './seal-object.js'
import { storedObject, type StoredObject } from './stored-object.js'
import type { ObjectWriter } from './write-object.js'

/**
 * The stream of an object has ended: puts it on stable storage, reads it back from there, and only then seals it. CORRUPT where it is not
 * what was written. `verified` is called with the bytes of each piece that was read back, and may throw.
 */
export async function completeObject(
  writer: ObjectWriter,
  whose: Pick<ObjectSeal, 'vm' | 'name'>,
  verified: (bytes: number) => void,
): Promise<StoredObject> {
  const written = await writer.finish(whose)
  for await (const { length } of readStream(written, writer.target)) verified(length)
  await sealObject(written.chunks)
  const { sealed } = OBJECT_FLAG
  return storedObject(
    written.id,
    written.chunks.map(({ chunk, header }) => ({ chunk, header: { ...header, flags: sealed } })),
  )
}
