import type { EngineCheckpoint } from '../checkpoint.js'
import type { StoredObject } from '../object/stored-object.js'

/** A checkpoint as its object tells of it. */
export function describeCheckpoint(
  { id, seal, chunks, damage }: StoredObject,
  attributes: string,
  storedBytes: number,
): EngineCheckpoint {
  return {
    id,
    vm: withDashes(seal?.vm ?? '0'.repeat(32)),
    name: seal?.name ?? '',
    bytes: seal?.streamBytes ?? 0,
    storedBytes,
    createdAt: new Date(chunks[0]!.header.createdAt).toISOString(),
    attributes,
    damage,
  }
}

function withDashes(id: string): string {
  return [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-')
}
