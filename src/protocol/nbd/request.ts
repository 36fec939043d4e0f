import { REQUEST_MAGIC } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import { writeUInt64 } from './wire.js'

/*  A request ("Request message"); the payload of a write follows:
 *  0       4       6         8        16       24     28
 *  | magic | flags | command | cookie | offset | length |
 */
export const REQUEST_BYTES = 28

/**
 * A request header, decoded in place: one object serves all requests of a connection. The cookie is kept as two signed
 * 32-bit words, high word first, which are small integers to the JavaScript engine.
 */
export class RequestHeader {
  flags = 0
  command = 0
  cookieHigh = 0
  cookieLow = 0
  /** Inexact above 2^53, where it lies beyond the end of any disk. */
  offset = 0
  length = 0
}

/** Decodes `REQUEST_BYTES` bytes at `at` into `header`. Allocates nothing. Throws {@link NbdProtocolError}. */
export function decodeRequest(bytes: Buffer, at: number, header: RequestHeader): void {
  if (bytes.readUInt32BE(at) !== REQUEST_MAGIC) throw new NbdProtocolError('a request does not begin with its magic')
  header.flags = bytes.readUInt16BE(at + 4)
  header.command = bytes.readUInt16BE(at + 6)
  header.cookieHigh = bytes.readInt32BE(at + 8)
  header.cookieLow = bytes.readInt32BE(at + 12)
  // Not readUInt64: the result of a call would be boxed, here it goes straight into its field.
  header.offset = bytes.readUInt32BE(at + 16) * 0x1_0000_0000 + bytes.readUInt32BE(at + 20)
  header.length = bytes.readUInt32BE(at + 24)
}

export function encodeRequest(bytes: Buffer, at: number, header: Readonly<RequestHeader>): void {
  bytes.writeUInt32BE(REQUEST_MAGIC, at)
  bytes.writeUInt16BE(header.flags, at + 4)
  bytes.writeUInt16BE(header.command, at + 6)
  bytes.writeInt32BE(header.cookieHigh, at + 8)
  bytes.writeInt32BE(header.cookieLow, at + 12)
  writeUInt64(bytes, header.offset, at + 16)
  bytes.writeUInt32BE(header.length, at + 24)
}
