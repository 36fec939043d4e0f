import { VmcacheError } from '../../base/errors.js'
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { decodeObjectHeader, objectBlockChecksum, type ObjectSeal } from '../../format/object-header.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import { eachBlock } from './block-checksums.js'
import { PIECE_BYTES, pieceAt, type Piece } from './pieces.js'
import { paddedBytes, payloadBytesOf, type ObjectChunk, type StoredObject } from './stored-object.js'
import type { ObjectTarget } from './write-object.js'

/** Pieces that are read ahead of the one that is being used. */
const AHEAD = 4

type ObjectPlace = Pick<ObjectTarget, 'chunkBytes' | 'medium'>

/**
 * The stream of an object, in order, each piece verified before it is given out; a piece is good until the next one is asked for. CORRUPT where
 * something is not what was written, of which nothing was given out then.
 */
export async function* readStream(object: StoredObject, place: ObjectPlace): AsyncGenerator<Buffer, void> {
  const { attributeBytes, streamBytes } = sealOf(object)
  let skipped = paddedBytes(attributeBytes)
  let left = streamBytes
  for await (const bytes of readPayload(object, place, payloadBytesOf(sealOf(object)))) {
    const part = bytes.subarray(Math.min(skipped, bytes.length), Math.min(skipped + left, bytes.length))
    skipped -= Math.min(skipped, bytes.length)
    left -= part.length
    if (part.length > 0) yield part
  }
}

/** The attributes of an object. CORRUPT. */
export async function readAttributes(object: StoredObject, place: ObjectPlace): Promise<Buffer> {
  const seal = sealOf(object)
  // They fit into the first piece.
  const first = pieceAt(0, payloadBytesOf(seal), place.chunkBytes)?.length ?? 0
  for await (const piece of readPayload(object, place, first))
    return Buffer.from(piece.subarray(0, seal.attributeBytes))
  return Buffer.alloc(0)
}

/** The first `bytes` of the payload, which end with a piece. */
async function* readPayload(object: StoredObject, place: ObjectPlace, bytes: number): AsyncGenerator<Buffer, void> {
  const seal = sealOf(object)
  if (object.missingChunks > 0) throw corrupt(object, object.damage!)
  const headers = new Map<number, Promise<Buffer>>()
  const reads: { readonly buffer: Buffer; readonly done: Promise<Buffer> }[] = []
  const buffers: Buffer[] = []
  const free: Buffer[] = []
  let position = 0
  const readAhead = (): void => {
    while (reads.length < AHEAD) {
      const piece = pieceAt(position, bytes - position, place.chunkBytes)
      if (piece === undefined) return
      let buffer = free.pop()
      if (buffer === undefined) buffers.push((buffer = alignedBuffer(PIECE_BYTES)))
      const chunk = object.chunks[piece.number]!
      let header = headers.get(piece.number)
      if (header === undefined) {
        header = readHeader(object, chunk, place, seal)
        header.catch(() => undefined)
        headers.set(piece.number, header)
        headers.delete(piece.number - 2)
      }
      const done = readPiece(object, chunk, header, piece, buffer, place)
      // Its failure is met when its turn comes.
      done.catch(() => undefined)
      reads.push({ buffer, done })
      position += piece.length
    }
  }
  try {
    readAhead()
    for (let next = reads.shift(); next !== undefined; next = reads.shift()) {
      readAhead()
      yield await next.done
      free.push(next.buffer)
    }
  } finally {
    await Promise.allSettled(reads.map(({ done }) => done))
    for (const buffer of buffers) releaseAligned(buffer)
  }
}

async function readPiece(
  object: StoredObject,
  { chunk }: ObjectChunk,
  header: Promise<Buffer>,
  { number, offset, length }: Piece,
  buffer: Buffer,
  place: ObjectPlace,
): Promise<Buffer> {
  const bytes = buffer.subarray(0, length)
  const medium = await place.medium(chunk)
  // Whatever the header is: nobody else gets the buffer while it is read into.
  await medium.read(chunk.offset + offset, buffer, 0, length)
  const checksums = await header
  eachBlock(bytes, offset, (block, checksum) => {
    if (checksum === objectBlockChecksum(checksums, 0, block)) return
    throw corrupt(
      object,
      `block ${block} of its chunk ${number}, chunk ${chunk.index} of ${chunk.device.path}, has another checksum`,
    )
  })
  return bytes
}

/** The header of a chunk as it is on the device now. */
async function readHeader(
  object: StoredObject,
  { chunk, header }: ObjectChunk,
  place: ObjectPlace,
  seal: ObjectSeal,
): Promise<Buffer> {
  const medium = await place.medium(chunk)
  const block = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    await medium.read(chunk.offset, block, 0, CHUNK_HEADER_BYTES)
    const found = decodeObjectHeader(block, 0)
    const isIt =
      found?.objectId === object.id &&
      found.number === header.number &&
      found.generation === header.generation &&
      isSameSeal(found.seal, seal)
    if (isIt) return Buffer.from(block)
  } finally {
    releaseAligned(block)
  }
  throw corrupt(
    object,
    `chunk ${chunk.index} of ${chunk.device.path} does not have the header of its chunk ${header.number} any more`,
  )
}

function isSameSeal(found: ObjectSeal | undefined, expected: ObjectSeal): boolean {
  return (
    found?.chunkCount === expected.chunkCount &&
    found.attributeBytes === expected.attributeBytes &&
    found.streamBytes === expected.streamBytes &&
    found.vm === expected.vm &&
    found.name === expected.name
  )
}

function sealOf(object: StoredObject): ObjectSeal {
  if (object.seal === undefined) throw corrupt(object, 'no header of it is whole')
  return object.seal
}

function corrupt({ id, seal }: StoredObject, what: string): VmcacheError {
  const whose = seal === undefined ? '' : ` of VM ${seal.name}`
  return new VmcacheError('CORRUPT', `checkpoint ${id}${whose} is damaged: ${what}`, {
    hint: `it cannot be resumed; give it up, and start the VM anew: vmcache checkpoint delete ${id} --discard-memory`,
    details: { checkpoint: id },
  })
}
