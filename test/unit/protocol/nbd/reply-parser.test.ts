import { expect, test } from 'vitest'
import { ChunkFlag, ChunkType } from '../../../../src/protocol/nbd/constants.js'
import { NbdProtocolError } from '../../../../src/protocol/nbd/protocol-error.js'
import {
  encodeBlockStatus,
  encodeChunkHeader,
  encodeOffsetDataHeader,
  encodeOffsetHole,
  encodeReplyError,
  encodeSimpleReply,
} from '../../../../src/protocol/nbd/reply.js'
import { ReplyParser, type ReplySink } from '../../../../src/protocol/nbd/reply-parser.js'

/** Writes down what a parser finds; runs of data that follow one another are one. */
class Journal implements ReplySink {
  readonly events: unknown[] = []
  #data: { cookie: number; offset: number; text: string } | null = null

  #note(event: unknown[]): void {
    if (this.#data !== null) this.events.push(['data', this.#data.cookie, this.#data.offset, this.#data.text])
    this.#data = null
    this.events.push(event)
  }

  simpleReplyBytes(cookie: number): number {
    return cookie === 4 ? 5 : 0
  }

  offsetOf(): number {
    return 4096
  }

  data(cookie: number, offset: number, bytes: Buffer, start: number, end: number): void {
    const text = bytes.toString('latin1', start, end)
    if (this.#data === null) this.#data = { cookie, offset, text }
    else {
      expect(offset).toBe(this.#data.offset + this.#data.text.length)
      this.#data.text += text
    }
  }

  hole = (...args: unknown[]): void => this.#note(['hole', ...args])
  status = (...args: unknown[]): void => this.#note(['status', ...args])
  error = (...args: unknown[]): void => this.#note(['error', ...args])
  done = (...args: unknown[]): void => this.#note(['done', ...args])
}

function simple(cookie: number, error: number, data = ''): Buffer {
  const header = Buffer.alloc(16)
  encodeSimpleReply(header, 0, error, 0, cookie)
  return Buffer.concat([header, Buffer.from(data)])
}

function chunk(cookie: number, type: number, payload: Buffer, flags: number = ChunkFlag.done): Buffer {
  const header = Buffer.alloc(20)
  encodeChunkHeader(header, 0, flags, type, 0, cookie, payload.length)
  return Buffer.concat([header, payload])
}

function offsetData(cookie: number, offset: number, data: string): Buffer {
  const header = Buffer.alloc(28)
  encodeOffsetDataHeader(header, 0, 0, cookie, offset, data.length)
  return Buffer.concat([header, Buffer.from(data)])
}

const STREAM = Buffer.concat([
  simple(3, 0),
  offsetData(9, 512, 'some data'),
  simple(4, 0, 'bytes'),
  chunk(5, ChunkType.offsetHole, encodeOffsetHole(1024, 512), 0),
  chunk(5, ChunkType.none, Buffer.alloc(0)),
  chunk(6, ChunkType.blockStatus, encodeBlockStatus(1, [{ length: 512, flags: 3 }])),
  simple(7, 28),
  chunk(8, ChunkType.error, encodeReplyError({ error: 5, message: 'broken', offset: null })),
  chunk(8, ChunkType.errorOffset, encodeReplyError({ error: 5, message: 'broken', offset: 512 })),
  chunk(8, 0x80ff, encodeReplyError({ error: 22, message: 'from the future', offset: 512 })),
])

const EVENTS = [
  ['done', 3],
  ['data', 9, 512, 'some data'],
  ['done', 9],
  ['data', 4, 4096, 'bytes'],
  ['done', 4],
  ['hole', 5, 1024, 512],
  ['done', 5],
  ['status', 6, 1, [{ length: 512, flags: 3 }]],
  ['done', 6],
  ['error', 7, 28, ''],
  ['done', 7],
  ['error', 8, 5, 'broken'],
  ['done', 8],
  ['error', 8, 5, 'broken'],
  ['done', 8],
  ['error', 8, 22, 'from the future'],
  ['done', 8],
]

test('replies are found wherever the stream is cut', () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const journal = new Journal()
    const parser = new ReplyParser(journal)
    parser.receive(STREAM, 0, cut)
    parser.receive(STREAM, cut, STREAM.length)
    expect(journal.events, `cut at ${cut}`).toEqual(EVENTS)
  }
})

test('replies are found byte by byte', () => {
  const journal = new Journal()
  const parser = new ReplyParser(journal)
  for (let at = 0; at < STREAM.length; at++) parser.receive(STREAM, at, at + 1)
  expect(journal.events).toEqual(EVENTS)
})

const control = (length: number, type: number): Buffer => {
  const header = Buffer.alloc(20)
  encodeChunkHeader(header, 0, ChunkFlag.done, type, 0, 1, length)
  return header
}

test.each([
  ['no magic', Buffer.alloc(16, 0x41)],
  ['a data chunk without data', control(8, ChunkType.offsetData)],
  ['an empty chunk that is not', control(1, ChunkType.none)],
  ['an empty chunk that is not final', chunk(1, ChunkType.none, Buffer.alloc(0), 0)],
  ['a chunk of an unknown type', chunk(1, 99, Buffer.from('x'))],
  ['a payload too large to be held', control(0xffff_ffff, ChunkType.blockStatus)],
  ['block descriptors of no length', chunk(1, 5, encodeBlockStatus(1, [{ length: 0, flags: 0 }]))],
  ['an error without an error', chunk(1, 0x8001, encodeReplyError({ error: 0, message: '', offset: null }))],
])('%s breaks the protocol', (_, bytes) => {
  expect(() => new ReplyParser(new Journal()).receive(bytes, 0, bytes.length)).toThrow(NbdProtocolError)
})
