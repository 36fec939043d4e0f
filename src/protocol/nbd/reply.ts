import { ChunkFlag, ChunkType, MAXIMUM_STRING_BYTES, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import { FieldReader, writeUInt64 } from './wire.js'

/*  A simple reply ("Simple reply message"); data of a successful read follows:
 *  0       4       8        16
 *  | magic | error | cookie |
 */
export const SIMPLE_REPLY_BYTES = 16

export function encodeSimpleReply(
  bytes: Buffer,
  at: number,
  error: number,
  cookieHigh: number,
  cookieLow: number,
): void {
  bytes.writeUInt32BE(SIMPLE_REPLY_MAGIC, at)
  bytes.writeUInt32BE(error, at + 4)
  bytes.writeInt32BE(cookieHigh, at + 8)
  bytes.writeInt32BE(cookieLow, at + 12)
}

/*  A chunk of a structured reply ("Structured reply chunk message"); its payload follows:
 *  0       4       6      8        16     20
 *  | magic | flags | type | cookie | length |
 */
export const CHUNK_HEADER_BYTES = 20
/** Chunk header and the offset in front of the data of a read. */
export const OFFSET_DATA_HEADER_BYTES = CHUNK_HEADER_BYTES + 8

export function encodeChunkHeader(
  bytes: Buffer,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  length: number,
): void {
  bytes.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at)
  bytes.writeUInt16BE(flags, at + 4)
  bytes.writeUInt16BE(type, at + 6)
  bytes.writeInt32BE(cookieHigh, at + 8)
  bytes.writeInt32BE(cookieLow, at + 12)
  bytes.writeUInt32BE(length, at + 16)
}

/** Everything in front of the `length` data bytes of a read that is answered by one chunk. */
export function encodeOffsetDataHeader(
  bytes: Buffer,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): void {
  encodeChunkHeader(bytes, at, ChunkFlag.done, ChunkType.offsetData, cookieHigh, cookieLow, length + 8)
  writeUInt64(bytes, offset, at + CHUNK_HEADER_BYTES)
}

/*  Payloads of chunks ("Structured reply types"):
 *  offset hole   0 | offset (64) | 8 length (32) |
 *  block status  0 | context id (32) | count x (length (32), status flags (32))
 *  error         0 | error (32) | 4 message length (16) | 6 message ... | error-offset only: offset (64)
 */
export function encodeOffsetHole(offset: number, length: number): Buffer {
  const payload = Buffer.allocUnsafe(12)
  writeUInt64(payload, offset, 0)
  payload.writeUInt32BE(length, 8)
  return payload
}

export function decodeOffsetHole(payload: Buffer): { offset: number; length: number } {
  const reader = new FieldReader(payload)
  const hole = { offset: reader.uint64(), length: reader.uint32() }
  reader.end()
  return hole
}

/** A run of an export in a metadata context. */
export interface StatusExtent {
  readonly length: number
  readonly flags: number
}

export function encodeBlockStatus(contextId: number, extents: readonly StatusExtent[]): Buffer {
  const payload = Buffer.allocUnsafe(4 + 8 * extents.length)
  payload.writeUInt32BE(contextId, 0)
  extents.forEach((extent, index) => {
    payload.writeUInt32BE(extent.length, 4 + 8 * index)
    payload.writeUInt32BE(extent.flags, 8 + 8 * index)
  })
  return payload
}

export function decodeBlockStatus(payload: Buffer): { contextId: number; extents: StatusExtent[] } {
  const reader = new FieldReader(payload)
  const contextId = reader.uint32()
  if (reader.remaining === 0 || reader.remaining % 8 !== 0) {
    throw new NbdProtocolError(`${reader.remaining} bytes are no list of block descriptors`)
  }
  const count = reader.remaining / 8
  const extents = Array.from({ length: count }, () => ({ length: reader.uint32(), flags: reader.uint32() }))
  if (extents.some((extent) => extent.length === 0)) throw new NbdProtocolError('a block descriptor of no length')
  return { contextId, extents }
}

export interface ReplyError {
  readonly error: number
  readonly message: string
  /** Where in the export; null where the chunk does not say. */
  readonly offset: number | null
}

export function encodeReplyError({ error, message, offset }: ReplyError): Buffer {
  const text = Buffer.from(message, 'utf8').subarray(0, MAXIMUM_STRING_BYTES)
  const payload = Buffer.allocUnsafe(6 + text.length + (offset === null ? 0 : 8))
  payload.writeUInt32BE(error, 0)
  payload.writeUInt16BE(text.length, 4)
  text.copy(payload, 6)
  if (offset !== null) writeUInt64(payload, offset, 6 + text.length)
  return payload
}

/** Decodes any error chunk; one of an unknown type is read as far as all of them agree. */
export function decodeReplyError(type: number, payload: Buffer): ReplyError {
  const reader = new FieldReader(payload)
  const error = reader.uint32()
  const message = reader.string(reader.uint16())
  const offset = type === ChunkType.errorOffset ? reader.uint64() : null
  if (type === ChunkType.error || type === ChunkType.errorOffset) reader.end()
  if (error === 0) throw new NbdProtocolError('an error chunk without an error')
  return { error, message, offset }
}
