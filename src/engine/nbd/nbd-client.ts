import { connect, type OnReadOpts, type Socket } from 'node:net'
import type { Clock } from '../../base/clock.js'
import { messageOf } from '../../base/errors.js'
import { ClientNegotiation, type ClientAgreement } from '../../protocol/nbd/client-negotiation.js'
import { Command } from '../../protocol/nbd/constants.js'
import { NbdProtocolError } from '../../protocol/nbd/protocol-error.js'
import type { StatusExtent } from '../../protocol/nbd/reply.js'
import { ReplyParser, type ReplySink } from '../../protocol/nbd/reply-parser.js'
import { encodeRequest, REQUEST_BYTES, RequestHeader } from '../../protocol/nbd/request.js'
import { threadBufferPool } from './buffer-pool.js'
import { GatheredOutput } from './gathered-output.js'

/** Where an NBD server listens. */
export type NbdTarget = { readonly path: string } | { readonly host: string; readonly port: number }

/** A request and where its answer goes. It may be sent again, on another connection, if it was not answered. */
export interface ClientRequest {
  readonly command: number
  readonly flags: number
  readonly offset: number
  readonly length: number
  /** What a write sends, or where a read puts what it gets; untouched by others until {@link settle}. */
  readonly data: Uint8Array | null
  /** Called once: `error` is null, or a number of the protocol. Block descriptors come with NBD_CMD_BLOCK_STATUS alone. */
  settle(outcome: RequestOutcome): void
}

export interface RequestOutcome {
  readonly error: number | null
  readonly message: string
  readonly extents: readonly StatusExtent[]
}

/** The server refuses the export: trying again will not help by itself. */
export class NbdRefusedError extends Error {
  override readonly name = 'NbdRefusedError'
  constructor(
    message: string,
    readonly unknownExport: boolean,
  ) {
    super(message)
  }
}

interface InFlight {
  readonly request: ClientRequest
  /** Bytes of a read that have come. */
  received: number
  error: number | null
  message: string
  extents: readonly StatusExtent[]
}

const READ_BUFFER_BYTES = 256 * 1024
/** Payloads up to this size travel in one piece with their header. */
const COPIED_PAYLOAD_BYTES = 16 * 1024
/** Cookies begin anew after this many requests: long after the last one that could be mistaken for it. */
const MAXIMUM_COOKIE = 0x3fff_ffff

/** Connects and negotiates; rejects with {@link NbdRefusedError} or the error of the socket. */
export function connectNbd(
  target: NbdTarget,
  exportName: string,
  options: { readonly clock: Clock; readonly timeoutMilliseconds: number },
): Promise<NbdClient> {
  return new Promise((resolve, reject) => {
    const negotiation = new ClientNegotiation(exportName)
    const bytes = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
    let client: NbdClient | null = null
    const fail = (error: Error): void => {
      cancel()
      socket.destroy()
      reject(error)
    }
    const negotiate = (count: number): void => {
      const stop = negotiation.receive(bytes, 0, count)
      for (const output of negotiation.takeOutput()) socket.write(output)
      const { agreement, refusal } = negotiation
      if (refusal !== null) return fail(new NbdRefusedError(refusal.reason, refusal.unknownExport))
      if (agreement === null) return
      if (stop < count) return fail(new NbdProtocolError('the server talks before it was asked'))
      cancel()
      socket.removeAllListeners('error').removeAllListeners('close')
      client = new NbdClient(socket, bytes, agreement)
      resolve(client)
    }
    const onread: OnReadOpts = {
      buffer: bytes,
      callback: (count) => {
        if (client === null) negotiate(count)
        else client.receive(count)
        return true
      },
    }
    const socket: Socket =
      'path' in target
        ? connect({ path: target.path, onread })
        : connect({ host: target.host, port: target.port, onread, noDelay: true, keepAlive: true })
    const cancel = options.clock.after(options.timeoutMilliseconds, () =>
      fail(new Error(`no answer within ${options.timeoutMilliseconds / 1000} s`)),
    )
    socket.on('error', fail)
    socket.on('close', () => fail(new Error('the server closed the connection')))
  })
}

/**
 * An NBD connection in its transmission phase, the client's side. Any number of requests may be in flight; those that
 * one turn of the event loop sends are written together.
 */
export class NbdClient implements ReplySink {
  readonly #parser = new ReplyParser(this)
  readonly #output: GatheredOutput
  readonly #header = new RequestHeader()
  readonly #inFlight = new Map<number, InFlight>()
  #lastCookie = 0
  #flushScheduled = false
  #answered = 0
  #lost: Error | null = null
  /** Called once when the connection is lost, with the requests that were not answered, in the order they were sent. */
  onLost: (reason: Error, unanswered: ClientRequest[]) => void = () => {}

  /** Use {@link connectNbd}. `bytes` is the buffer that the socket reads into. */
  constructor(
    private readonly socket: Socket,
    private readonly bytes: Buffer,
    readonly agreement: ClientAgreement,
  ) {
    this.#output = new GatheredOutput(socket, threadBufferPool, () => {})
    socket.on('error', (error) => (this.#lost ??= error))
    socket.on('close', () => this.#closed())
  }

  get requestsInFlight(): number {
    return this.#inFlight.size
  }

  /** Replies so far. */
  get answered(): number {
    return this.#answered
  }

  send(request: ClientRequest): void {
    let cookie = this.#lastCookie
    do cookie = cookie === MAXIMUM_COOKIE ? 1 : cookie + 1
    while (this.#inFlight.has(cookie))
    this.#lastCookie = cookie
    this.#inFlight.set(cookie, { request, received: 0, error: null, message: '', extents: NO_EXTENTS })
    const header = this.#header
    header.command = request.command
    header.flags = request.flags
    header.cookieLow = cookie
    header.offset = request.offset
    header.length = request.length
    this.#put(header, request.command === Command.write ? request.data : null)
    this.#scheduleFlush()
  }

  /** Says goodbye and closes; what is in flight is lost. */
  close(): void {
    const header = new RequestHeader()
    header.command = Command.disconnect
    this.#put(header, null)
    this.#output.flush()
    this.socket.end()
  }

  /** Closes without a word. */
  destroy(reason: Error): void {
    this.#lost ??= reason
    this.socket.destroy()
  }

  /** `count` bytes were read into the buffer. */
  receive(count: number): void {
    if (this.#lost !== null) return
    try {
      this.#parser.receive(this.bytes, 0, count)
    } catch (error) {
      if (!(error instanceof NbdProtocolError)) throw error
      this.destroy(new Error(`the server broke the protocol: ${messageOf(error)}`))
    }
  }

  #put(header: RequestHeader, payload: Uint8Array | null): void {
    const output = this.#output
    const copied = payload !== null && payload.length <= COPIED_PAYLOAD_BYTES ? payload.length : 0
    const at = output.reserve(REQUEST_BYTES + copied)
    encodeRequest(output.buffer, at, header)
    if (copied > 0) output.buffer.set(payload!, at + REQUEST_BYTES)
    output.commit(REQUEST_BYTES + copied)
    if (payload !== null && copied === 0) output.append(payload, null)
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    queueMicrotask(() => {
      this.#flushScheduled = false
      this.#output.flush()
    })
  }

  #closed(): void {
    this.#output.close()
    const unanswered = [...this.#inFlight.values()].map(({ request }) => request)
    this.#inFlight.clear()
    this.onLost(this.#lost ?? new Error('the server closed the connection'), unanswered)
  }

  #find(cookie: number): InFlight {
    const entry = this.#inFlight.get(cookie)
    if (entry === undefined) throw new NbdProtocolError(`a reply to a request that was not sent, ${cookie}`)
    return entry
  }

  /** Where in the target of a read `length` bytes at `offset` of the export belong. */
  #place(entry: InFlight, offset: number, length: number): number {
    const { request } = entry
    const at = offset - request.offset
    if (request.command !== Command.read || at < 0 || at + length > request.length) {
      throw new NbdProtocolError(`${length} bytes at ${offset} were not asked for`)
    }
    entry.received += length
    return at
  }

  simpleReplyBytes(cookie: number): number {
    const { request } = this.#find(cookie)
    if (request.command !== Command.read) return 0
    if (this.agreement.structuredReplies) throw new NbdProtocolError('a simple reply to a read')
    return request.length
  }

  offsetOf(cookie: number): number {
    return this.#find(cookie).request.offset
  }

  data(cookie: number, offset: number, bytes: Buffer, start: number, end: number): void {
    const entry = this.#find(cookie)
    bytes.copy(entry.request.data!, this.#place(entry, offset, end - start), start, end)
  }

  hole(cookie: number, offset: number, length: number): void {
    const entry = this.#find(cookie)
    const at = this.#place(entry, offset, length)
    entry.request.data!.fill(0, at, at + length)
  }

  status(cookie: number, contextId: number, extents: StatusExtent[]): void {
    const entry = this.#find(cookie)
    if (contextId === this.agreement.allocationContextId) entry.extents = extents
  }

  error(cookie: number, error: number, message: string): void {
    const entry = this.#find(cookie)
    entry.error ??= error
    entry.message ||= message
  }

  done(cookie: number): void {
    const entry = this.#find(cookie)
    const { request, received, error, message, extents } = entry
    if (error === null && request.command === Command.read && received !== request.length) {
      throw new NbdProtocolError(`${received} bytes answer a read of ${request.length}`)
    }
    this.#inFlight.delete(cookie)
    this.#answered++
    request.settle({ error, message, extents })
  }
}

const NO_EXTENTS: readonly StatusExtent[] = []
