import { OBJECT_FLAG } from '../../format/object-header.js'
import type { Chunk } from '../log/chunk-source.js'
import { freeObject } from './free-object.js'
import { sealObject } from './seal-object.js'
import { storedObject, type ObjectChunk, type StoredObject } from './stored-object.js'

export interface RecoverObjectsOptions {
  readonly cacheId: string
  readonly now: number
  /** Every device of the cache is here: what is not found is nowhere. */
  readonly isWhole: boolean
}

/**
 * Ends what a crash left half done, on stable storage: seals what was being sealed, frees what was being written or deleted. Where a device
 * is missing, what was being written is left alone: it may be sealed there.
 */
export async function recoverObjects(
  found: ReadonlyMap<string, readonly ObjectChunk[]>,
  { cacheId, now, isWhole }: RecoverObjectsOptions,
): Promise<{ objects: StoredObject[]; freed: Chunk[] }> {
  const objects: StoredObject[] = []
  const freed: Chunk[] = []
  for (const [id, chunks] of found) {
    const object = storedObject(id, chunks)
    if (object.state === 'sealed') {
      const half = chunks.filter(({ header }) => (header.flags & OBJECT_FLAG.sealed) === 0)
      if (half.length > 0) await sealObject(half)
      objects.push(object)
      continue
    }
    if (object.state === 'deleted' || isWhole) freed.push(...(await freeObject(object, cacheId, now, !isWhole)))
    const left = chunks.filter(({ chunk }) => !freed.includes(chunk))
    if (left.length > 0) objects.push(storedObject(id, left))
  }
  return { objects, freed }
}
