import { describe, expect, test } from 'vitest'
import { ChunkFlag, ChunkType, Command, CommandFlag } from '../../../../src/protocol/nbd/constants.js'
import { ERROR_NUMBERS, errorNameOf } from '../../../../src/protocol/nbd/error-number.js'
import {
  decodeExportNameReply,
  decodeInfoReply,
  decodeInfoRequest,
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeExportNameReply,
  encodeInfoRequest,
  encodeNameInfo,
} from '../../../../src/protocol/nbd/export-information.js'
import {
  decodeMetaContext,
  decodeMetaContextRequest,
  encodeMetaContext,
  encodeMetaContextRequest,
} from '../../../../src/protocol/nbd/meta-context.js'
import {
  decodeOptionHeader,
  decodeOptionReplyHeader,
  encodeOption,
  encodeOptionError,
  encodeOptionReply,
} from '../../../../src/protocol/nbd/option.js'
import { NbdProtocolError } from '../../../../src/protocol/nbd/protocol-error.js'
import {
  decodeBlockStatus,
  decodeOffsetHole,
  decodeReplyError,
  encodeBlockStatus,
  encodeChunkHeader,
  encodeOffsetDataHeader,
  encodeOffsetHole,
  encodeReplyError,
  encodeSimpleReply,
} from '../../../../src/protocol/nbd/reply.js'
import { decodeRequest, encodeRequest, RequestHeader } from '../../../../src/protocol/nbd/request.js'

/** A decoder of variable data, and bytes that it takes. Every cut of them must be refused, never read past the end. */
const STRUCTURES: readonly { name: string; bytes: Buffer; decode: (bytes: Buffer) => unknown; value: unknown }[] = [
  {
    name: 'info request',
    bytes: encodeInfoRequest({ name: 'web01/vda', types: [3, 1] }),
    decode: decodeInfoRequest,
    value: { name: 'web01/vda', types: [3, 1] },
  },
  {
    name: 'export info',
    bytes: encodeExportInfo(2 ** 44 + 512, 0x0fed),
    decode: decodeInfoReply,
    value: { type: 'export', sizeBytes: 2 ** 44 + 512, flags: 0x0fed },
  },
  {
    name: 'block size info',
    bytes: encodeBlockSizeInfo({ minimum: 512, preferred: 4096, maximum: 33554432 }),
    decode: decodeInfoReply,
    value: { type: 'block-size', sizes: { minimum: 512, preferred: 4096, maximum: 33554432 } },
  },
  {
    name: 'export name reply',
    bytes: encodeExportNameReply({ sizeBytes: 4096, flags: 0x8001, blockSizes: null }, false),
    decode: decodeExportNameReply,
    value: { sizeBytes: 4096, flags: 0x8001, blockSizes: null },
  },
  {
    name: 'metadata query',
    bytes: encodeMetaContextRequest({ exportName: 'ä', queries: ['base:allocation', ''] }),
    decode: decodeMetaContextRequest,
    value: { exportName: 'ä', queries: ['base:allocation', ''] },
  },
  {
    name: 'offset hole',
    bytes: encodeOffsetHole(2 ** 40, 4096),
    decode: decodeOffsetHole,
    value: { offset: 2 ** 40, length: 4096 },
  },
  {
    name: 'block status',
    bytes: encodeBlockStatus(7, [{ length: 4294966784, flags: 3 }]),
    decode: decodeBlockStatus,
    value: { contextId: 7, extents: [{ length: 4294966784, flags: 3 }] },
  },
  {
    name: 'error',
    bytes: encodeReplyError({ error: 5, message: 'no', offset: null }),
    decode: (bytes) => decodeReplyError(ChunkType.error, bytes),
    value: { error: 5, message: 'no', offset: null },
  },
  {
    name: 'error at an offset',
    bytes: encodeReplyError({ error: 28, message: '', offset: 2 ** 33 }),
    decode: (bytes) => decodeReplyError(ChunkType.errorOffset, bytes),
    value: { error: 28, message: '', offset: 2 ** 33 },
  },
]

describe.each(STRUCTURES)('$name', ({ bytes, decode, value }) => {
  test('is read as it was written', () => {
    expect(decode(bytes)).toEqual(value)
  })

  test('is refused when it is cut at any byte', () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decode(bytes.subarray(0, length)), `${length} bytes`).toThrow(NbdProtocolError)
    }
  })
})

test('a list of several block descriptors is read as it was written', () => {
  const extents = [
    { length: 512, flags: 0 },
    { length: 65536, flags: 3 },
  ]
  expect(decodeBlockStatus(encodeBlockStatus(1, extents))).toEqual({ contextId: 1, extents })
})

test('names travel in both directions', () => {
  expect(decodeInfoReply(encodeNameInfo('web01/vda'))).toEqual({ type: 'name', name: 'web01/vda' })
  expect(decodeMetaContext(encodeMetaContext({ id: 9, name: 'base:allocation' }))).toEqual({
    id: 9,
    name: 'base:allocation',
  })
})

test('information of an unknown type is passed over', () => {
  expect(decodeInfoReply(Buffer.from([0x7f, 0xff, 1, 2, 3]))).toEqual({ type: 'other' })
})

test.each([
  ['no power of two', { minimum: 513, preferred: 4096, maximum: 65536 }],
  ['zero', { minimum: 0, preferred: 4096, maximum: 65536 }],
  ['a minimum above 64 KiB', { minimum: 131072, preferred: 131072, maximum: 131072 }],
  ['a preferred size below the minimum', { minimum: 4096, preferred: 512, maximum: 65536 }],
  ['a maximum below the minimum', { minimum: 4096, preferred: 4096, maximum: 512 }],
])('block sizes with %s are refused', (_, sizes) => {
  expect(() => decodeInfoReply(encodeBlockSizeInfo(sizes))).toThrow(NbdProtocolError)
})

test('a size beyond 2^53 is refused', () => {
  const info = encodeExportInfo(0, 1)
  info.fill(0xff, 2, 10)
  expect(() => decodeInfoReply(info)).toThrow('2^53')
})

test('a length field does not make anything larger than the data be held', () => {
  const name = Buffer.alloc(6)
  name.writeUInt32BE(0xffff_ffff, 0)
  expect(() => decodeInfoRequest(name)).toThrow(NbdProtocolError)
  const queries = encodeMetaContextRequest({ exportName: '', queries: [] })
  queries.writeUInt32BE(0xffff_ffff, 4)
  expect(() => decodeMetaContextRequest(queries)).toThrow('queries')
})

test('a string is at most 4096 bytes', () => {
  expect(decodeInfoRequest(encodeInfoRequest({ name: 'x'.repeat(4096), types: [] })).name).toHaveLength(4096)
  expect(() => decodeInfoRequest(encodeInfoRequest({ name: 'x'.repeat(4097), types: [] }))).toThrow('4096')
})

test('an option header is read as it was written', () => {
  expect(decodeOptionHeader(encodeOption(7, Buffer.from('abc')))).toEqual({ type: 7, length: 3 })
  expect(() => decodeOptionHeader(Buffer.alloc(16))).toThrow(NbdProtocolError)
})

test('an option reply header is read as it was written', () => {
  const reply = encodeOptionReply(7, 3, Buffer.from('abc'))
  expect(decodeOptionReplyHeader(reply)).toEqual({ option: 7, type: 3, length: 3 })
  expect(reply.toString('latin1', 20)).toBe('abc')
  expect(decodeOptionReplyHeader(encodeOptionError(7, 0x80000006, 'x'.repeat(9999)))).toMatchObject({ length: 4096 })
  expect(() => decodeOptionReplyHeader(Buffer.alloc(20))).toThrow(NbdProtocolError)
})

test('a request is read as it was written, whatever its cookie and offset', () => {
  const bytes = Buffer.alloc(40)
  const header = new RequestHeader()
  const written: RequestHeader = {
    flags: CommandFlag.fua | CommandFlag.noHole,
    command: Command.writeZeroes,
    cookieHigh: -1,
    cookieLow: 0x7fff_ffff,
    offset: 2 ** 43 + 4096,
    length: 0xffff_f000,
  }
  encodeRequest(bytes, 12, written)
  decodeRequest(bytes, 12, header)
  expect({ ...header }).toEqual(written)
})

test('an offset beyond 2^53 is read as one beyond any disk', () => {
  const bytes = Buffer.alloc(28, 0xff)
  bytes.writeUInt32BE(0x25609513, 0)
  const header = new RequestHeader()
  decodeRequest(bytes, 0, header)
  expect(header.offset).toBeGreaterThan(Number.MAX_SAFE_INTEGER)
})

test('a request without its magic is refused', () => {
  expect(() => decodeRequest(Buffer.alloc(28), 0, new RequestHeader())).toThrow(NbdProtocolError)
})

test('headers of replies have the bytes of the protocol', () => {
  const simple = Buffer.alloc(16)
  encodeSimpleReply(simple, 0, ERROR_NUMBERS.ENOSPC, 0x01020304, 0x05060708)
  expect(simple.toString('hex')).toBe('67446698' + '0000001c' + '0102030405060708')
  const chunk = Buffer.alloc(20)
  encodeChunkHeader(chunk, 0, ChunkFlag.done, ChunkType.blockStatus, -1, 2, 12)
  expect(chunk.toString('hex')).toBe('668e33ef' + '0001' + '0005' + 'ffffffff00000002' + '0000000c')
  const data = Buffer.alloc(28)
  encodeOffsetDataHeader(data, 0, 0, 9, 2 ** 32 + 1, 512)
  expect(data.toString('hex')).toBe('668e33ef' + '0001' + '0001' + '0000000000000009' + '00000208' + '0000000100000001')
})

test('error numbers and names belong together; unknown ones count as EIO', () => {
  for (const [name, number] of Object.entries(ERROR_NUMBERS)) expect(errorNameOf(number)).toBe(name)
  expect(errorNameOf(4711)).toBe('EIO')
})
