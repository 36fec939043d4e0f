import { describe, expect, test } from 'vitest'
import { ClientNegotiation } from '../../../../src/protocol/nbd/client-negotiation.js'
import { Info, Option, OptionReply } from '../../../../src/protocol/nbd/constants.js'
import {
  decodeInfoReply,
  encodeInfoRequest,
  type ExportInformation,
} from '../../../../src/protocol/nbd/export-information.js'
import { decodeMetaContext, encodeMetaContextRequest } from '../../../../src/protocol/nbd/meta-context.js'
import { encodeOption, encodeOptionError, encodeOptionReply } from '../../../../src/protocol/nbd/option.js'
import { ServerNegotiation, type ExportDirectory } from '../../../../src/protocol/nbd/server-negotiation.js'

const information: ExportInformation = {
  sizeBytes: 1048576,
  flags: 0x05ed,
  blockSizes: { minimum: 512, preferred: 4096, maximum: 33554432 },
}
const directory: ExportDirectory = {
  names: () => ['web01/vda', 'db01/vda'],
  information: (name) => (['', 'web01/vda', 'db01/vda'].includes(name) ? information : undefined),
}

const CLIENT_FLAGS = Buffer.from([0, 0, 0, 3])
const go = (name: string, types: number[] = []): Buffer => encodeOption(Option.go, encodeInfoRequest({ name, types }))
const setContext = (exportName: string, ...queries: string[]): Buffer =>
  encodeOption(Option.setMetaContext, encodeMetaContextRequest({ exportName, queries }))

/** A server that has been given the client's flags and `pieces`. */
function serverAfter(...pieces: Buffer[]): ServerNegotiation {
  const server = new ServerNegotiation(directory)
  server.takeOutput()
  const bytes = Buffer.concat([CLIENT_FLAGS, ...pieces])
  server.receive(bytes, 0, bytes.length)
  return server
}

interface Reply {
  option: number
  type: number
  data: Buffer
}

function repliesOf(server: ServerNegotiation): Reply[] {
  const bytes = Buffer.concat(server.takeOutput())
  const replies: Reply[] = []
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32BE(at + 16)
    const data = bytes.subarray(at + 20, at + 20 + length)
    replies.push({ option: bytes.readUInt32BE(at + 8), type: bytes.readUInt32BE(at + 12), data })
    at += 20 + length
  }
  return replies
}

const typesOf = (server: ServerNegotiation): number[] => repliesOf(server).map(({ type }) => type)

describe('server', () => {
  test('greets with its magic numbers and flags', () => {
    const greeting = Buffer.concat(new ServerNegotiation(directory).takeOutput())
    expect(greeting.toString('latin1', 0, 16)).toBe('NBDMAGICIHAVEOPT')
    expect(greeting.readUInt16BE(16)).toBe(3)
  })

  test('GO tells size, flags and block sizes, and ends the handshake', () => {
    const server = serverAfter(go('web01/vda', [Info.name]))
    const replies = repliesOf(server)
    expect(replies.map(({ type }) => type)).toEqual([3, 3, 3, OptionReply.ack])
    expect(replies.slice(0, 3).map(({ data }) => decodeInfoReply(data))).toEqual([
      { type: 'export', sizeBytes: 1048576, flags: 0x05ed },
      { type: 'block-size', sizes: information.blockSizes },
      { type: 'name', name: 'web01/vda' },
    ])
    expect(server.agreement).toEqual({
      exportName: 'web01/vda',
      structuredReplies: false,
      allocationContext: false,
    })
  })

  test('takes nothing beyond the end of the handshake: requests follow', () => {
    const server = new ServerNegotiation(directory)
    const bytes = Buffer.concat([CLIENT_FLAGS, go(''), Buffer.from('request')])
    expect(server.receive(bytes, 0, bytes.length)).toBe(bytes.length - 'request'.length)
  })

  test('INFO tells the same and goes on', () => {
    const server = serverAfter(encodeOption(Option.info, encodeInfoRequest({ name: '', types: [] })), go('db01/vda'))
    expect(typesOf(server)).toEqual([3, 3, 1, 3, 3, 1])
    expect(server.agreement?.exportName).toBe('db01/vda')
  })

  test('an unknown export is an error, after which the client may try another', () => {
    const server = serverAfter(go('nobody'), go(''))
    expect(typesOf(server)).toEqual([OptionReply.errorUnknown, 3, 3, 1])
    expect(server.agreement?.exportName).toBe('')
  })

  test('LIST names every export', () => {
    const replies = repliesOf(serverAfter(encodeOption(Option.list)))
    expect(replies.map(({ data }) => data.toString('utf8', 4))).toEqual(['web01/vda', 'db01/vda', ''])
    expect(replies.map(({ type }) => type)).toEqual([2, 2, 1])
  })

  test('EXPORT_NAME is answered without a header, padded unless agreed otherwise', () => {
    const option = encodeOption(Option.exportName, Buffer.from('db01/vda'))
    const unpadded = serverAfter(option)
    expect(Buffer.concat(unpadded.takeOutput())).toHaveLength(10)
    expect(unpadded.agreement?.exportName).toBe('db01/vda')
    const padded = new ServerNegotiation(directory)
    padded.takeOutput()
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 1]), option])
    padded.receive(bytes, 0, bytes.length)
    expect(Buffer.concat(padded.takeOutput())).toHaveLength(134)
  })

  test('EXPORT_NAME of an unknown export can only be answered by hanging up', () => {
    const server = serverAfter(encodeOption(Option.exportName, Buffer.from('nobody')))
    expect(server.closed).toContain('nobody')
    expect(server.takeOutput()).toEqual([])
  })

  test('ABORT is acknowledged before the connection ends', () => {
    const server = serverAfter(encodeOption(Option.abort))
    expect(typesOf(server)).toEqual([OptionReply.ack])
    expect(server.closed).not.toBeNull()
  })

  test('unknown options are refused and passed over, whatever data they carry', () => {
    const server = serverAfter(encodeOption(4711, Buffer.alloc(100_000)), encodeOption(5), go(''))
    expect(typesOf(server)).toEqual([OptionReply.errorUnsupported, OptionReply.errorUnsupported, 3, 3, 1])
  })

  test('an option too large to be held is refused and passed over', () => {
    const server = serverAfter(encodeOption(Option.go, Buffer.alloc(65537)), go(''))
    expect(typesOf(server)).toEqual([OptionReply.errorTooBig, 3, 3, 1])
  })

  test('an option too large to be passed over ends the connection', () => {
    const header = encodeOption(Option.go)
    header.writeUInt32BE(0xffff_ffff, 12)
    expect(serverAfter(header).closed).toContain('4294967295')
  })

  test.each([
    ['LIST with data', encodeOption(Option.list, Buffer.from('x'))],
    ['STRUCTURED_REPLY with data', encodeOption(Option.structuredReply, Buffer.from('x'))],
    ['GO with a name longer than the data', encodeOption(Option.go, Buffer.from([0, 0, 1, 0, 0, 0]))],
    ['GO with too few information types', encodeOption(Option.go, Buffer.from([0, 0, 0, 0, 0, 9]))],
    ['a context before structured replies', setContext('', 'base:allocation')],
  ])('%s is invalid, and not the end', (_, option) => {
    const server = serverAfter(option, go(''))
    expect(typesOf(server)).toEqual([OptionReply.errorInvalid, 3, 3, 1])
  })

  test.each([
    ['unknown client flags', Buffer.from([0, 0, 0, 0xff])],
    ['an option without its magic', Buffer.concat([CLIENT_FLAGS, Buffer.alloc(16)])],
  ])('%s end the connection', (_, bytes) => {
    const server = new ServerNegotiation(directory)
    server.receive(bytes, 0, bytes.length)
    expect(server.closed).not.toBeNull()
    expect(server.receive(bytes, 0, bytes.length)).toBe(0)
  })

  describe('contexts', () => {
    const structured = encodeOption(Option.structuredReply)

    test('base:allocation is selected for the export that is opened then', () => {
      const server = serverAfter(structured, setContext('', 'base:allocation', 'other:thing'), go(''))
      const replies = repliesOf(server)
      expect(replies.map(({ type }) => type)).toEqual([1, OptionReply.metaContext, 1, 3, 3, 1])
      expect(decodeMetaContext(replies[1]!.data)).toEqual({ id: 1, name: 'base:allocation' })
      expect(server.agreement).toMatchObject({ structuredReplies: true, allocationContext: true })
    })

    test('it does not hold for another export, nor after it was taken back', () => {
      const other = serverAfter(structured, setContext('db01/vda', 'base:allocation'), go('web01/vda'))
      expect(other.agreement?.allocationContext).toBe(false)
      const back = serverAfter(structured, setContext('', 'base:allocation'), setContext(''), go(''))
      expect(back.agreement?.allocationContext).toBe(false)
    })

    test.each([[[]], [['base:']], [['base:allocation']]])('LIST with the queries %j shows it', (queries) => {
      const option = encodeOption(Option.listMetaContext, encodeMetaContextRequest({ exportName: '', queries }))
      expect(typesOf(serverAfter(structured, option))).toEqual([1, OptionReply.metaContext, 1])
    })

    test('a context of an unknown export is an error', () => {
      expect(typesOf(serverAfter(structured, setContext('nobody')))).toEqual([1, OptionReply.errorUnknown])
    })
  })
})

/** Lets both sides talk, in pieces of at most `piece` bytes, until the client has ended. */
function converse(client: ClientNegotiation, server: ServerNegotiation, piece: number): void {
  const deliver = (from: ClientNegotiation | ServerNegotiation, to: ClientNegotiation | ServerNegotiation): boolean => {
    const bytes = Buffer.concat(from.takeOutput())
    for (let at = 0; at < bytes.length; at += piece) to.receive(bytes, at, Math.min(bytes.length, at + piece))
    return bytes.length > 0
  }
  while (deliver(server, client) || deliver(client, server));
}

describe('client', () => {
  test.each([1, 2, 3, 7, 16, 1000])('agrees with our server in pieces of %i bytes', (piece) => {
    const client = new ClientNegotiation('web01/vda')
    const server = new ServerNegotiation(directory)
    converse(client, server, piece)
    expect(client.agreement).toEqual({ information, structuredReplies: true, allocationContextId: 1 })
    expect(server.agreement).toEqual({ exportName: 'web01/vda', structuredReplies: true, allocationContext: true })
  })

  test('says so when the export is unknown', () => {
    const client = new ClientNegotiation('nobody')
    converse(client, new ServerNegotiation(directory), 1000)
    expect(client.refusal).toMatchObject({ unknownExport: true })
  })

  /** A client at a server that answers what is given, option by option. */
  function against(...answers: Buffer[]): ClientNegotiation {
    const client = new ClientNegotiation('x')
    const greeting = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1')
    for (const answer of [greeting, ...answers]) client.receive(answer, 0, answer.length)
    return client
  }
  const unsupported = (option: number): Buffer => encodeOptionError(option, OptionReply.errorUnsupported, '')

  test('makes do with a server that knows only EXPORT_NAME', () => {
    const answer = Buffer.alloc(10)
    answer.writeUInt32BE(4096, 4)
    const client = against(unsupported(Option.structuredReply), unsupported(Option.go), answer)
    expect(client.agreement).toEqual({
      information: { sizeBytes: 4096, flags: 1, blockSizes: null },
      structuredReplies: false,
      allocationContextId: null,
    })
  })

  test.each([
    ['no NBD server', [Buffer.alloc(18, 0x41)]],
    ['the oldstyle handshake', [Buffer.concat([Buffer.from('NBDMAGIC'), Buffer.alloc(10)])]],
    ['a server without fixed newstyle', [Buffer.from('NBDMAGICIHAVEOPT\0\0', 'latin1')]],
  ])('refuses %s', (_, [greeting]) => {
    const client = new ClientNegotiation('x')
    client.receive(greeting!, 0, greeting!.length)
    expect(client.refusal).not.toBeNull()
  })

  test.each([
    ['TLS', encodeOptionError(Option.structuredReply, OptionReply.errorTlsRequired, 'no'), 'TLS: no'],
    ['an answer to another option', encodeOptionReply(Option.list, OptionReply.ack), 'not asked'],
    ['an answer of the wrong type', encodeOptionReply(Option.structuredReply, OptionReply.server), 'type 2'],
    ['an answer without its magic', Buffer.alloc(20), 'magic'],
  ])('gives up on %s', (_, answer, reason) => {
    expect(against(answer).refusal?.reason).toContain(reason)
  })

  test('gives up on an answer too large to be held', () => {
    const answer = encodeOptionReply(Option.structuredReply, OptionReply.ack)
    answer.writeUInt32BE(0xffff_ffff, 16)
    expect(against(answer).refusal?.reason).toContain('4294967295')
  })

  test('gives up on an export without a size', () => {
    const client = against(unsupported(Option.structuredReply), encodeOptionReply(Option.go, OptionReply.ack))
    expect(client.refusal?.reason).toContain('size')
  })

  test('passes on why the server refuses the export', () => {
    const refused = encodeOptionError(Option.go, OptionReply.errorPolicy, 'not for you')
    const client = against(unsupported(Option.structuredReply), refused)
    expect(client.refusal).toMatchObject({ unknownExport: false, reason: expect.stringContaining('not for you') })
  })
})
