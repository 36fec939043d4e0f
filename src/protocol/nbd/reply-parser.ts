import { ByteCollector } from './byte-collector.js'
import { ChunkFlag, ChunkType, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import {
  CHUNK_HEADER_BYTES,
  decodeBlockStatus,
  decodeOffsetHole,
  decodeReplyError,
  SIMPLE_REPLY_BYTES,
  type StatusExtent,
} from './reply.js'
import { readUInt64 } from './wire.js'

/**
 * Whom a {@link ReplyParser} tells what it found. Any call may throw {@link NbdProtocolError} for what does not fit
 * the request (an unknown cookie, data outside of it).
 */
export interface ReplySink {
  /** How many bytes of data follow a simple reply without an error: the length of a read, 0 for anything else. */
  simpleReplyBytes(cookie: number): number
  /** Where the request began: data of a simple reply belongs there. */
  offsetOf(cookie: number): number
  /** Data of a read: `bytes[start, end)` belong at `offset` of the export. The bytes are only valid during the call. */
  data(cookie: number, offset: number, bytes: Buffer, start: number, end: number): void
  hole(cookie: number, offset: number, length: number): void
  status(cookie: number, contextId: number, extents: StatusExtent[]): void
  error(cookie: number, error: number, message: string): void
  /** Nothing more will come for this request. */
  done(cookie: number): void
}

/** Largest payload that is not data of a read: a list of a million block descriptors. */
const MAXIMUM_CONTROL_PAYLOAD_BYTES = 4 + 8 * 1024 * 1024

type State = 'header' | 'offset' | 'data' | 'payload'

/** The replies of a connection, from pieces of any size. Without I/O; data of reads is passed on without a copy. */
export class ReplyParser {
  #state: State = 'header'
  readonly #header = Buffer.allocUnsafe(CHUNK_HEADER_BYTES)
  /** Bytes of `#header` that are there. */
  #filled = 0
  readonly #payload = new ByteCollector()
  #cookie = 0
  #type = 0
  #final = false
  /** Of data: where the next byte belongs, and how many are missing. */
  #offset = 0
  #missing = 0

  constructor(private readonly sink: ReplySink) {}

  /** Takes all of `bytes[start, end)`. Throws {@link NbdProtocolError}; the parser is of no use afterwards. */
  receive(bytes: Buffer, start: number, end: number): void {
    let at = start
    while (at < end) {
      switch (this.#state) {
        case 'header':
          at = this.#takeHeader(bytes, at, end)
          break
        case 'data': {
          const stop = Math.min(end, at + this.#missing)
          this.sink.data(this.#cookie, this.#offset, bytes, at, stop)
          this.#offset += stop - at
          this.#missing -= stop - at
          at = stop
          if (this.#missing === 0) this.#endChunk()
          break
        }
        default:
          at = this.#payload.take(bytes, at, end)
          if (this.#payload.complete) this.#handlePayload(this.#payload.bytes)
      }
    }
  }

  /** Collects a header: the length of a simple reply tells the kinds apart, a chunk's header is longer. */
  #takeHeader(bytes: Buffer, start: number, end: number): number {
    const wanted = this.#filled < SIMPLE_REPLY_BYTES ? SIMPLE_REPLY_BYTES : CHUNK_HEADER_BYTES
    const stop = Math.min(end, start + wanted - this.#filled)
    this.#filled += bytes.copy(this.#header, this.#filled, start, stop)
    if (this.#filled < wanted) return stop
    const magic = this.#header.readUInt32BE(0)
    if (magic === SIMPLE_REPLY_MAGIC || wanted === CHUNK_HEADER_BYTES) {
      this.#filled = 0
      this.#handleHeader(wanted)
    } else if (magic !== STRUCTURED_REPLY_MAGIC) {
      throw new NbdProtocolError(`a reply begins with 0x${magic.toString(16)}`)
    }
    return stop
  }

  #handleHeader(length: number): void {
    const header = this.#header
    this.#cookie = readUInt64(header, 8)
    if (length === SIMPLE_REPLY_BYTES) return this.#handleSimple(header.readUInt32BE(4))
    this.#final = (header.readUInt16BE(4) & ChunkFlag.done) !== 0
    this.#type = header.readUInt16BE(6)
    this.#handleChunk(header.readUInt32BE(16))
  }

  #handleSimple(error: number): void {
    this.#final = true
    if (error !== 0) {
      this.sink.error(this.#cookie, error, '')
      return this.#endChunk()
    }
    this.#missing = this.sink.simpleReplyBytes(this.#cookie)
    if (this.#missing === 0) return this.#endChunk()
    this.#offset = this.sink.offsetOf(this.#cookie)
    this.#state = 'data'
  }

  #handleChunk(length: number): void {
    if (this.#type === ChunkType.offsetData) {
      if (length < 9) throw new NbdProtocolError(`a data chunk of ${length} bytes`)
      this.#missing = length - 8
      this.#payload.expect(8)
      this.#state = 'offset'
      return
    }
    if (this.#type === ChunkType.none) {
      if (length !== 0 || !this.#final) throw new NbdProtocolError('an empty chunk that is not empty or not final')
      return this.#endChunk()
    }
    if (length === 0 || length > MAXIMUM_CONTROL_PAYLOAD_BYTES) {
      throw new NbdProtocolError(`a chunk of type ${this.#type} with ${length} bytes`)
    }
    this.#payload.expect(length)
    this.#state = 'payload'
  }

  #handlePayload(payload: Buffer): void {
    if (this.#state === 'offset') {
      this.#offset = readUInt64(payload, 0)
      this.#state = 'data'
      return
    }
    if (this.#type === ChunkType.offsetHole) {
      const { offset, length } = decodeOffsetHole(payload)
      this.sink.hole(this.#cookie, offset, length)
    } else if (this.#type === ChunkType.blockStatus) {
      const { contextId, extents } = decodeBlockStatus(payload)
      this.sink.status(this.#cookie, contextId, extents)
    } else if (this.#type >= ChunkType.error) {
      const { error, message } = decodeReplyError(this.#type, payload)
      this.sink.error(this.#cookie, error, message)
    } else {
      throw new NbdProtocolError(`a chunk of type ${this.#type}`)
    }
    this.#endChunk()
  }

  #endChunk(): void {
    this.#state = 'header'
    if (this.#final) this.sink.done(this.#cookie)
  }
}
