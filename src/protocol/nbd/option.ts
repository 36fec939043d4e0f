import { MAXIMUM_STRING_BYTES, OPTION_MAGIC, OPTION_REPLY_MAGIC } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import { hasMagic, writeMagic } from './wire.js'

/*  An option, client to server ("Fixed newstyle negotiation"):
 *  0        8      12     16
 *  | magic  | type | length | data ...
 */
export const OPTION_HEADER_BYTES = 16

export interface OptionHeader {
  readonly type: number
  readonly length: number
}

export function encodeOption(type: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(OPTION_HEADER_BYTES + data.length)
  writeMagic(bytes, OPTION_MAGIC, 0)
  bytes.writeUInt32BE(type, 8)
  bytes.writeUInt32BE(data.length, 12)
  bytes.set(data, OPTION_HEADER_BYTES)
  return bytes
}

export function decodeOptionHeader(bytes: Buffer): OptionHeader {
  if (!hasMagic(bytes, 0, OPTION_MAGIC)) throw new NbdProtocolError('an option does not begin with IHAVEOPT')
  return { type: bytes.readUInt32BE(8), length: bytes.readUInt32BE(12) }
}

/*  A reply to an option, server to client:
 *  0        8        12           16     20
 *  | magic  | option | reply type | length | data ...
 */
export const OPTION_REPLY_HEADER_BYTES = 20

export interface OptionReplyHeader {
  readonly option: number
  readonly type: number
  readonly length: number
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES + data.length)
  writeMagic(bytes, OPTION_REPLY_MAGIC, 0)
  bytes.writeUInt32BE(option, 8)
  bytes.writeUInt32BE(type, 12)
  bytes.writeUInt32BE(data.length, 16)
  bytes.set(data, OPTION_REPLY_HEADER_BYTES)
  return bytes
}

/** An error reply carries a message for people. */
export function encodeOptionError(option: number, type: number, message: string): Buffer {
  return encodeOptionReply(option, type, Buffer.from(message, 'utf8').subarray(0, MAXIMUM_STRING_BYTES))
}

export function decodeOptionReplyHeader(bytes: Buffer): OptionReplyHeader {
  if (!hasMagic(bytes, 0, OPTION_REPLY_MAGIC)) {
    throw new NbdProtocolError('an option reply does not begin with its magic number')
  }
  return { option: bytes.readUInt32BE(8), type: bytes.readUInt32BE(12), length: bytes.readUInt32BE(16) }
}
