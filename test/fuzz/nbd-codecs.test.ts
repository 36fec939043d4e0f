/** Garbage, and valid streams with damage, against everything that reads NBD bytes: refused or understood, never a crash. */
import { expect, test } from 'vitest'
import { SeededRandom } from '../../src/base/random.js'
import { ClientNegotiation } from '../../src/protocol/nbd/client-negotiation.js'
import { Option } from '../../src/protocol/nbd/constants.js'
import { encodeInfoRequest } from '../../src/protocol/nbd/export-information.js'
import { encodeMetaContextRequest } from '../../src/protocol/nbd/meta-context.js'
import { encodeOption } from '../../src/protocol/nbd/option.js'
import { NbdProtocolError } from '../../src/protocol/nbd/protocol-error.js'
import {
  encodeBlockStatus,
  encodeChunkHeader,
  encodeOffsetDataHeader,
  encodeReplyError,
  encodeSimpleReply,
} from '../../src/protocol/nbd/reply.js'
import { ReplyParser, type ReplySink } from '../../src/protocol/nbd/reply-parser.js'
import { ServerNegotiation } from '../../src/protocol/nbd/server-negotiation.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/nbd-codecs.test.ts`
const random = new SeededRandom(seed)
const RUNS = 3000

function garbage(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

/** `bytes` with a few bytes changed, cut out or put in; now and then none. */
function damaged(bytes: Buffer): Buffer {
  let result = Buffer.from(bytes)
  for (let count = random.below(4); count > 0; count--) {
    const at = random.below(result.length + 1)
    const kind = random.below(3)
    if (kind === 0 && at < result.length) result[at] = random.below(256)
    else if (kind === 1) result = Buffer.concat([result.subarray(0, at), result.subarray(at + random.below(8))])
    else result = Buffer.concat([result.subarray(0, at), garbage(random.below(8)), result.subarray(at)])
  }
  return result
}

/** Passes bytes on in pieces of random sizes until `receive` takes no more. */
function feed(bytes: Buffer, receive: (bytes: Buffer, start: number, end: number) => number): void {
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random.below(64))
    const stop = receive(bytes, at, end)
    expect(stop).toBeGreaterThanOrEqual(at)
    expect(stop).toBeLessThanOrEqual(end)
    if (stop < end) return
    at = stop
  }
}

const directory = {
  names: () => ['disk'],
  information: (name: string) =>
    name === '' || name === 'disk' ? { sizeBytes: 4096, flags: 1, blockSizes: null } : undefined,
}

const OPTIONS = [
  encodeOption(Option.structuredReply),
  encodeOption(Option.setMetaContext, encodeMetaContextRequest({ exportName: '', queries: ['base:allocation'] })),
  encodeOption(Option.list),
  encodeOption(Option.info, encodeInfoRequest({ name: 'disk', types: [1, 3] })),
  encodeOption(4711, Buffer.alloc(50)),
  encodeOption(Option.go, encodeInfoRequest({ name: '', types: [3] })),
]

test('the server side of the handshake', () => {
  for (let run = 0; run < RUNS; run++) {
    const server = new ServerNegotiation(directory)
    const options = OPTIONS.filter(() => random.below(3) > 0)
    const valid = Buffer.concat([Buffer.from([0, 0, 0, 3]), ...options])
    const bytes = random.below(4) === 0 ? garbage(200) : damaged(valid)
    feed(bytes, (...piece) => server.receive(...piece))
    const output = Buffer.concat(server.takeOutput())
    expect(output.length, repeat).toBeLessThan(10_000)
  }
})

test('the client side of the handshake', () => {
  // What our server says to our client, recorded.
  const conversation: Buffer[] = []
  const server = new ServerNegotiation(directory)
  const partner = new ClientNegotiation('')
  for (let said = server.takeOutput(); said.length > 0; said = server.takeOutput()) {
    conversation.push(...said)
    for (const bytes of said) partner.receive(bytes, 0, bytes.length)
    for (const bytes of partner.takeOutput()) server.receive(bytes, 0, bytes.length)
  }
  expect(partner.agreement).not.toBeNull()
  const valid = Buffer.concat(conversation)
  for (let run = 0; run < RUNS; run++) {
    const client = new ClientNegotiation('')
    feed(random.below(4) === 0 ? garbage(200) : damaged(valid), (...piece) => client.receive(...piece))
    expect(client.agreement === null || client.refusal === null, repeat).toBe(true)
  }
})

/** Believes everything, as long as it belongs to a request of 4096 bytes. */
class Believer implements ReplySink {
  simpleReplyBytes = (cookie: number): number => (cookie === 1 ? 4096 : 0)
  offsetOf = (): number => 0
  data = (_cookie: number, _offset: number, _bytes: Buffer, start: number, end: number): void =>
    expect(end, repeat).toBeGreaterThan(start)
  hole = (): void => {}
  status = (): void => {}
  error = (_cookie: number, error: number): void => expect(error, repeat).not.toBe(0)
  done = (): void => {}
}

test('replies', () => {
  const header = (write: (bytes: Buffer) => void, length: number): Buffer => {
    const bytes = Buffer.alloc(length)
    write(bytes)
    return bytes
  }
  const error = encodeReplyError({ error: 5, message: 'an error', offset: null })
  const status = encodeBlockStatus(1, [{ length: 512, flags: 1 }])
  const replies = [
    header((bytes) => encodeSimpleReply(bytes, 0, 0, 0, 2), 16),
    header((bytes) => encodeSimpleReply(bytes, 0, 5, 0, 1), 16),
    header((bytes) => encodeOffsetDataHeader(bytes, 0, 0, 1, 0, 100), 128),
    Buffer.concat([header((bytes) => encodeChunkHeader(bytes, 0, 1, 0x8001, 0, 3, error.length), 20), error]),
    Buffer.concat([header((bytes) => encodeChunkHeader(bytes, 0, 1, 5, 0, 3, status.length), 20), status]),
    header((bytes) => encodeChunkHeader(bytes, 0, 1, 0, 0, 3, 0), 20),
  ]
  for (let run = 0; run < RUNS; run++) {
    const parser = new ReplyParser(new Believer())
    const valid = Buffer.concat(replies.filter(() => random.below(2) === 0))
    try {
      feed(random.below(4) === 0 ? garbage(200) : damaged(valid), (bytes, start, end) => {
        parser.receive(bytes, start, end)
        return end
      })
    } catch (thrown) {
      expect(thrown, repeat).toBeInstanceOf(NbdProtocolError)
    }
  }
})
