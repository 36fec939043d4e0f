/**
 * engine/object/: objects: what is written once, as one stream, then sealed, read whole, and deleted. Here they are chunks on devices; what they
 * are good for is told in checkpoint/.
 *
 * Words: an object has *attributes* (text) and a *stream*; both together, each padded to {@link OBJECT_ALIGNMENT_BYTES}, are its *payload*, which
 * fills the *data area* of its chunks, all that is behind their headers. It is *sealed* when one of its chunks says so, which it does when all
 * of the object is on stable storage and was read back. Before that it is nothing: its chunks are freed when the cache is opened.
 */
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { OBJECT_ALIGNMENT_BYTES, OBJECT_FLAG, type ObjectHeader, type ObjectSeal } from '../../format/object-header.js'
import type { Chunk } from '../log/chunk-source.js'

/** A chunk of an object, with the header that was found in it, or is to be written. */
export interface ObjectChunk {
  readonly chunk: Chunk
  readonly header: ObjectHeader
}

export type ObjectState =
  | 'sealed'
  /** It was never finished. */
  | 'unsealed'
  /** Its deletion was begun. */
  | 'deleted'

/** An object as its headers tell of it. */
export interface StoredObject {
  readonly id: string
  readonly state: ObjectState
  /** Those that were found, by their number. */
  readonly chunks: readonly ObjectChunk[]
  /** Undefined where no chunk has a whole one. */
  readonly seal: ObjectSeal | undefined
  /** Chunks that it has and that were not found, as far as that is known. */
  readonly missingChunks: number
  /** What the headers say to be wrong with it; null where nothing is. */
  readonly damage: string | null
}

/** @param found all chunks that say that they belong to it, at least one */
export function storedObject(id: string, found: readonly ObjectChunk[]): StoredObject {
  const chunks = [...found].sort((a, b) => a.header.number - b.header.number)
  const seal = chunks.find(({ header }) => header.seal !== undefined)?.header.seal
  const has = (flag: number): boolean => chunks.some(({ header }) => (header.flags & flag) !== 0)
  const chunkCount = seal?.chunkCount ?? chunks.at(-1)!.header.number + 1
  const missingChunks = Math.max(0, chunkCount - chunks.length)
  return {
    id,
    state: has(OBJECT_FLAG.deleted) ? 'deleted' : has(OBJECT_FLAG.sealed) ? 'sealed' : 'unsealed',
    chunks,
    seal,
    missingChunks,
    damage: damageOf(chunks, chunkCount, missingChunks),
  }
}

function damageOf(chunks: readonly ObjectChunk[], chunkCount: number, missingChunks: number): string | null {
  if (missingChunks > 0) return `${missingChunks} of its ${chunkCount} chunks are missing`
  const damaged = chunks.filter(({ header }) => header.seal === undefined).length
  return damaged > 0 ? `the headers of ${damaged} of its ${chunkCount} chunks are damaged` : null
}

/** Bytes of payload that a chunk holds. */
export function dataBytesOf(chunkBytes: number): number {
  return chunkBytes - CHUNK_HEADER_BYTES
}

export function paddedBytes(bytes: number): number {
  return Math.ceil(bytes / OBJECT_ALIGNMENT_BYTES) * OBJECT_ALIGNMENT_BYTES
}

export function payloadBytesOf({ attributeBytes, streamBytes }: ObjectSeal): number {
  return paddedBytes(attributeBytes) + paddedBytes(streamBytes)
}

/** Chunks that an object needs; one at least, which says that it is there. */
export function chunksFor(attributeBytes: number, streamBytes: number, chunkBytes: number): number {
  return Math.max(1, Math.ceil((paddedBytes(attributeBytes) + paddedBytes(streamBytes)) / dataBytesOf(chunkBytes)))
}
