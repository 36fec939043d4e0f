import { VmcacheError } from '../../base/errors.js'
import type { Clock } from '../../base/clock.js'
import type { CheckedCheckpoint } from '../../protocol/control/cache-check.js'
import { freeObject } from '../object/free-object.js'
import { readStream } from '../object/read-object.js'
import { storedObject, type ObjectChunk } from '../object/stored-object.js'
import type { Findings } from './findings.js'

/** Reads all of an object. Undefined where it is none: it was never finished, or its deletion was begun; the next opening frees its chunks. */
export async function checkObject(
  id: string,
  found: readonly ObjectChunk[],
  context: {
    readonly cacheId: string
    readonly chunkBytes: number
    readonly clock: Clock
    readonly findings: Findings
    /** Every device of the cache is here. */
    readonly isWhole: boolean
  },
): Promise<CheckedCheckpoint | undefined> {
  const { cacheId, chunkBytes, clock, findings, isWhole } = context
  const object = storedObject(id, found)
  const { chunk } = object.chunks[0]!
  const place = { device: chunk.device.path, chunk: chunk.index }
  if (object.state !== 'sealed') {
    const seen = `${found.length} chunks of checkpoint ${id}, which was ${object.state === 'deleted' ? 'being deleted' : 'never finished'}`
    await findings.add(
      { ...place, kind: 'left-chunk', seen, expected: 'free chunks', effect: 'harmless' },
      isWhole ? () => freeObject(object, cacheId, clock.now()) : undefined,
    )
    return undefined
  }
  try {
    for await (const _ of readStream(object, { chunkBytes, medium: (of) => Promise.resolve(of.device) }))
      findings.throwIfCancelled()
  } catch (error) {
    if (!(error instanceof VmcacheError) || error.code !== 'CORRUPT') throw error
    await findings.add({
      ...place,
      kind: 'checkpoint',
      seen: error.message,
      expected: 'the memory of the VM as it was written',
      effect: 'loses a checkpoint',
    })
  }
  return {
    checkpoint: id,
    vm: object.seal?.name ?? '',
    bytes: object.seal?.streamBytes ?? 0,
    chunks: found.length,
    createdAt: new Date(object.chunks[0]!.header.createdAt).toISOString(),
  }
}
