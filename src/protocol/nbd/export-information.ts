import { Info, TransmissionFlag } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import { encodeCountedString, FieldReader, writeUInt64 } from './wire.js'

/** "Block size constraints", in bytes. */
export interface BlockSizes {
  readonly minimum: number
  readonly preferred: number
  /** Largest payload of a request. */
  readonly maximum: number
}

/** What a server tells about an export. */
export interface ExportInformation {
  readonly sizeBytes: number
  /** Bits of {@link TransmissionFlag}. */
  readonly flags: number
  /** Null where the server announces none. */
  readonly blockSizes: BlockSizes | null
}

export function hasFlag(flags: number, flag: number): boolean {
  return (flags & flag) !== 0
}

/*  Data of NBD_OPT_INFO and NBD_OPT_GO:
 *  0             4        4+n     6+n
 *  | name length | name ... | count | count x 16-bit information types
 */
export interface InfoRequest {
  readonly name: string
  readonly types: readonly number[]
}

export function encodeInfoRequest(request: InfoRequest): Buffer {
  const types = Buffer.allocUnsafe(2 + 2 * request.types.length)
  types.writeUInt16BE(request.types.length, 0)
  request.types.forEach((type, index) => types.writeUInt16BE(type, 2 + 2 * index))
  return Buffer.concat([encodeCountedString(request.name), types])
}

export function decodeInfoRequest(data: Buffer): InfoRequest {
  const reader = new FieldReader(data)
  const name = reader.countedString()
  const count = reader.uint16()
  if (reader.remaining !== 2 * count) {
    throw new NbdProtocolError(`${count} information types in ${reader.remaining} bytes`)
  }
  return { name, types: Array.from({ length: count }, () => reader.uint16()) }
}

/*  Data of NBD_REP_INFO, after the 16-bit information type:
 *  export      0 | type | 2 size (64) | 10 flags (16) |
 *  block size  0 | type | 2 minimum (32) | 6 preferred (32) | 10 maximum (32) |
 *  name        0 | type | 2 name ...
 */
export function encodeExportInfo(sizeBytes: number, flags: number): Buffer {
  const data = Buffer.allocUnsafe(12)
  data.writeUInt16BE(Info.export, 0)
  writeUInt64(data, sizeBytes, 2)
  data.writeUInt16BE(flags, 10)
  return data
}

export function encodeBlockSizeInfo(sizes: BlockSizes): Buffer {
  const data = Buffer.allocUnsafe(14)
  data.writeUInt16BE(Info.blockSize, 0)
  data.writeUInt32BE(sizes.minimum, 2)
  data.writeUInt32BE(sizes.preferred, 6)
  data.writeUInt32BE(sizes.maximum, 10)
  return data
}

export function encodeNameInfo(name: string): Buffer {
  const text = Buffer.from(name, 'utf8')
  const data = Buffer.allocUnsafe(2 + text.length)
  data.writeUInt16BE(Info.name, 0)
  text.copy(data, 2)
  return data
}

export type InfoReply =
  | { readonly type: 'export'; readonly sizeBytes: number; readonly flags: number }
  | { readonly type: 'block-size'; readonly sizes: BlockSizes }
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'other' }

export function decodeInfoReply(data: Buffer): InfoReply {
  const reader = new FieldReader(data)
  switch (reader.uint16()) {
    case Info.export: {
      const reply = { type: 'export', sizeBytes: reader.uint64(), flags: reader.uint16() } as const
      reader.end()
      if (!Number.isSafeInteger(reply.sizeBytes)) throw new NbdProtocolError('the export is larger than 2^53 bytes')
      return reply
    }
    case Info.blockSize: {
      const sizes = { minimum: reader.uint32(), preferred: reader.uint32(), maximum: reader.uint32() }
      reader.end()
      checkBlockSizes(sizes)
      return { type: 'block-size', sizes }
    }
    case Info.name:
      return { type: 'name', name: reader.string(reader.remaining) }
    default:
      return { type: 'other' }
  }
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value))
}

function checkBlockSizes({ minimum, preferred, maximum }: BlockSizes): void {
  const sane =
    isPowerOfTwo(minimum) && minimum <= 0x10000 && isPowerOfTwo(preferred) && preferred >= minimum && maximum >= minimum
  if (!sane) {
    throw new NbdProtocolError(`block sizes ${minimum} (minimum), ${preferred} (preferred), ${maximum} (maximum)`)
  }
}

/*  Reply to NBD_OPT_EXPORT_NAME, without a header:
 *  0      8       10
 *  | size | flags | 124 zeroes, unless both sides agreed to leave them out
 */
export const EXPORT_NAME_REPLY_BYTES = 10
export const EXPORT_NAME_PADDING_BYTES = 124

export function encodeExportNameReply(information: ExportInformation, padded: boolean): Buffer {
  const bytes = Buffer.alloc(EXPORT_NAME_REPLY_BYTES + (padded ? EXPORT_NAME_PADDING_BYTES : 0))
  writeUInt64(bytes, information.sizeBytes, 0)
  bytes.writeUInt16BE(information.flags, 8)
  return bytes
}

export function decodeExportNameReply(bytes: Buffer): ExportInformation {
  const reader = new FieldReader(bytes)
  const sizeBytes = reader.uint64()
  if (!Number.isSafeInteger(sizeBytes)) throw new NbdProtocolError('the export is larger than 2^53 bytes')
  return { sizeBytes, flags: reader.uint16() | TransmissionFlag.hasFlags, blockSizes: null }
}
