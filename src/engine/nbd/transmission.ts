import { messageOf } from '../../base/errors.js'
import type { Logger } from '../../base/logger.js'
import { AllocationFlag, ChunkFlag, ChunkType, Command, CommandFlag } from '../../protocol/nbd/constants.js'
import { ERROR_NUMBERS } from '../../protocol/nbd/error-number.js'
import {
  CHUNK_HEADER_BYTES,
  encodeBlockStatus,
  encodeChunkHeader,
  encodeOffsetDataHeader,
  encodeReplyError,
  encodeSimpleReply,
  OFFSET_DATA_HEADER_BYTES,
  SIMPLE_REPLY_BYTES,
  type StatusExtent,
} from '../../protocol/nbd/reply.js'
import { decodeRequest, REQUEST_BYTES, RequestHeader } from '../../protocol/nbd/request.js'
import { ALLOCATION_CONTEXT_ID, type Agreement } from '../../protocol/nbd/server-negotiation.js'
import type { ServedDisk } from '../disk/served-disk.js'
import type { AllocationExtent } from '../origin/origin.js'
import type { BufferPool } from './buffer-pool.js'
import { informationOf } from './export-table.js'
import type { GatheredOutput } from './gathered-output.js'
import { refusalOf, type Refusal } from './request-check.js'

/** What one connection may hold of the thread's memory; at a limit no further request is taken. */
export interface TransmissionLimits {
  /** Requests that wait for the disk. */
  readonly requestsInFlight: number
  /** Payloads and unsent replies. One request may always be served, whatever its size. */
  readonly bytesInFlight: number
}

/** Replies to misses up to this size are copied together; larger ones are sent from their own buffer. */
const COPIED_REPLY_BYTES = 16 * 1024
/** Block descriptors in one reply; a client asks again for the rest. */
const MAXIMUM_STATUS_EXTENTS = 4096

/**
 * The transmission phase of one connection: takes requests out of what was read, gives them to the disk, and puts the
 * replies together. Without a socket of its own.
 *
 * A read that hits is answered within {@link receive}, without a promise and without allocating anything. All else is
 * *in flight* until the disk has answered, whatever becomes of the connection.
 */
export class Transmission {
  readonly #header = new RequestHeader()
  /** A decoded request that was not begun for want of room. */
  #pending = false
  readonly #partial = Buffer.allocUnsafe(REQUEST_BYTES)
  #partialFilled = 0
  /** The payload of the write in `#header`, while it comes in. */
  #payload: Buffer | null = null
  #payloadFilled = 0
  /** What is left of the payload of a write that was refused. */
  #skip = 0
  #requestsInFlight = 0
  /** Buffers of requests that wait for the disk. */
  #requestBytes = 0
  #disconnected = false
  readonly #announced: number
  readonly #readHeaderBytes: number

  /** `onSettled` is called when a request that was in flight has ended, its reply gathered but not yet flushed. */
  constructor(
    private readonly disk: ServedDisk,
    private readonly agreement: Agreement,
    private readonly output: GatheredOutput,
    private readonly pool: BufferPool,
    private readonly limits: TransmissionLimits,
    private readonly logger: Logger,
    private readonly onSettled: () => void,
  ) {
    this.#announced = informationOf(disk).flags
    this.#readHeaderBytes = agreement.structuredReplies ? OFFSET_DATA_HEADER_BYTES : SIMPLE_REPLY_BYTES
  }

  get requestsInFlight(): number {
    return this.#requestsInFlight
  }

  /** The client has said goodbye; nothing that follows is looked at. */
  get disconnected(): boolean {
    return this.#disconnected
  }

  /** Forgets a write whose payload will never be complete; {@link receive} is not called any more. */
  abandon(): void {
    if (this.#payload === null) return
    this.#requestBytes -= this.#payload.length
    this.pool.give(this.#payload)
    this.#payload = null
  }

  /**
   * Takes requests from `bytes[start, end)` and returns where it stopped: at `end`, or earlier where a limit was reached
   * (see {@link stalled}); then the rest is to be passed again when replies have been sent. Throws NbdProtocolError.
   */
  receive(bytes: Buffer, start: number, end: number): number {
    let at = start
    for (;;) {
      if (this.#disconnected) return end
      if (this.#payload !== null) {
        at = this.#takePayload(this.#payload, bytes, at, end)
        if (this.#payload !== null) return at
      } else if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, end - at)
        this.#skip -= skipped
        at += skipped
        if (this.#skip > 0) return at
      }
      if (!this.#pending) {
        at = this.#takeHeader(bytes, at, end)
        if (!this.#pending) return at
      }
      if (this.#mustWait()) return at
      this.#pending = false
      this.#begin()
    }
  }

  /** A request waits for room; it is begun by the next {@link receive} for which there is some. */
  get stalled(): boolean {
    return this.#pending
  }

  #takeHeader(bytes: Buffer, start: number, end: number): number {
    if (this.#partialFilled === 0 && end - start >= REQUEST_BYTES) {
      decodeRequest(bytes, start, this.#header)
      this.#pending = true
      return start + REQUEST_BYTES
    }
    const stop = Math.min(end, start + REQUEST_BYTES - this.#partialFilled)
    this.#partialFilled += bytes.copy(this.#partial, this.#partialFilled, start, stop)
    if (this.#partialFilled === REQUEST_BYTES) {
      this.#partialFilled = 0
      decodeRequest(this.#partial, 0, this.#header)
      this.#pending = true
    }
    return stop
  }

  #mustWait(): boolean {
    if (this.#requestsInFlight >= this.limits.requestsInFlight) return true
    const { command, length } = this.#header
    const wanted = command === Command.read || command === Command.write ? length : 0
    const held = this.#requestBytes + this.output.heldBytes
    return held > 0 && held + wanted > this.limits.bytesInFlight
  }

  #begin(): void {
    const header = this.#header
    const { cookieHigh, cookieLow } = header
    if (header.command === Command.disconnect) {
      this.#disconnected = true
      return
    }
    const refusal = refusalOf(header, this.disk, this.#announced)
    if (refusal !== null) {
      if (header.command === Command.write) this.#skip = header.length
      return this.#sendRefusal(cookieHigh, cookieLow, refusal)
    }
    switch (header.command) {
      case Command.read:
        return this.#read()
      case Command.write:
        this.#payload = this.pool.take(header.length)
        this.#payloadFilled = 0
        this.#requestBytes += this.#payload.length
        return
      case Command.blockStatus:
        return this.#blockStatus()
      default:
        return this.#whenDone(this.#operation(), null, () => this.#sendSuccess(cookieHigh, cookieLow))
    }
  }

  /** The requests without data in either direction. */
  #operation(): Promise<void> {
    const { command, flags, offset, length } = this.#header
    const fua = (flags & CommandFlag.fua) !== 0
    switch (command) {
      case Command.flush:
        return this.disk.flush()
      case Command.trim:
        return this.disk.trim(offset, length, fua)
      case Command.cache:
        return this.disk.prefetch(offset, length)
      default: {
        const mayTrim = (flags & CommandFlag.noHole) === 0
        return this.disk.zero(offset, length, { mayTrim, fast: (flags & CommandFlag.fastZero) !== 0, fua })
      }
    }
  }

  #read(): void {
    const { cookieHigh, cookieLow, offset, length } = this.#header
    const { output } = this
    const at = output.reserve(this.#readHeaderBytes + length)
    if (this.disk.tryRead(offset, length, output.buffer, at + this.#readHeaderBytes)) {
      this.#encodeReadHeader(output.buffer, at, cookieHigh, cookieLow, offset, length)
      output.commit(this.#readHeaderBytes + length)
      return
    }
    this.#readLater(cookieHigh, cookieLow, offset, length)
  }

  #encodeReadHeader(
    bytes: Buffer,
    at: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    length: number,
  ): void {
    if (this.agreement.structuredReplies) encodeOffsetDataHeader(bytes, at, cookieHigh, cookieLow, offset, length)
    else encodeSimpleReply(bytes, at, 0, cookieHigh, cookieLow)
  }

  #readLater(cookieHigh: number, cookieLow: number, offset: number, length: number): void {
    const { output, pool } = this
    const total = this.#readHeaderBytes + length
    const buffer = pool.take(total)
    this.#whenDone(this.disk.read(offset, length, buffer, this.#readHeaderBytes), buffer, () => {
      this.#encodeReadHeader(buffer, 0, cookieHigh, cookieLow, offset, length)
      if (total > COPIED_REPLY_BYTES) return output.append(buffer.subarray(0, total), buffer)
      const at = output.reserve(total)
      buffer.copy(output.buffer, at, 0, total)
      output.commit(total)
      pool.give(buffer)
    })
  }

  #takePayload(payload: Buffer, bytes: Buffer, start: number, end: number): number {
    const header = this.#header
    const stop = Math.min(end, start + header.length - this.#payloadFilled)
    this.#payloadFilled += bytes.copy(payload, this.#payloadFilled, start, stop)
    if (this.#payloadFilled === header.length) {
      this.#payload = null
      this.#write(payload)
    }
    return stop
  }

  #write(payload: Buffer): void {
    const { cookieHigh, cookieLow, offset, length, flags } = this.#header
    const data = payload.subarray(0, length)
    // From here on the payload is counted by the request in flight.
    this.#requestBytes -= payload.length
    if ((flags & CommandFlag.fua) === 0 && this.#tryWrite(data, payload)) return
    this.#whenDone(this.disk.write(offset, data, (flags & CommandFlag.fua) !== 0), payload, () => {
      this.pool.give(payload)
      this.#sendSuccess(cookieHigh, cookieLow)
    })
  }

  /** A write that the disk takes at once costs no promise; its answer is gathered with those that end in the same turn. */
  #tryWrite(data: Buffer, payload: Buffer): boolean {
    const { cookieHigh, cookieLow, offset } = this.#header
    const begun = this.disk.tryWrite(offset, data, (error) => {
      this.#requestsInFlight--
      this.#requestBytes -= payload.length
      this.pool.give(payload)
      if (error === undefined) this.#sendSuccess(cookieHigh, cookieLow)
      else this.#sendError(cookieHigh, cookieLow, error)
      this.onSettled()
    })
    if (!begun) return false
    this.#requestsInFlight++
    this.#requestBytes += payload.length
    return true
  }

  #blockStatus(): void {
    const { cookieHigh, cookieLow, offset, length, flags } = this.#header
    if (!this.agreement.allocationContext) return this.#sendRefusal(cookieHigh, cookieLow, NO_CONTEXT)
    const limit = (flags & CommandFlag.requestOne) !== 0 ? 1 : MAXIMUM_STATUS_EXTENTS
    this.#whenDone(this.disk.allocation(offset, length), null, (extents) => {
      const payload = encodeBlockStatus(ALLOCATION_CONTEXT_ID, statusOf(extents, length, limit))
      this.#sendChunk(ChunkType.blockStatus, cookieHigh, cookieLow, payload)
    })
  }

  /**
   * Counts an operation and its buffer as in flight until it has ended. Then `succeed` answers, and sees to the buffer; a
   * failure is answered here.
   */
  #whenDone<T>(operation: Promise<T>, buffer: Buffer | null, succeed: (value: T) => void): void {
    const { cookieHigh, cookieLow } = this.#header
    const bytes = buffer?.length ?? 0
    this.#requestsInFlight++
    this.#requestBytes += bytes
    operation.then(
      (value) => {
        this.#requestsInFlight--
        this.#requestBytes -= bytes
        succeed(value)
        this.onSettled()
      },
      (error: unknown) => {
        this.#requestsInFlight--
        this.#requestBytes -= bytes
        if (buffer !== null) this.pool.give(buffer)
        this.#sendError(cookieHigh, cookieLow, error)
        this.onSettled()
      },
    )
  }

  #sendSuccess(cookieHigh: number, cookieLow: number): void {
    const at = this.output.reserve(SIMPLE_REPLY_BYTES)
    encodeSimpleReply(this.output.buffer, at, 0, cookieHigh, cookieLow)
    this.output.commit(SIMPLE_REPLY_BYTES)
  }

  #sendChunk(type: number, cookieHigh: number, cookieLow: number, payload: Buffer): void {
    const { output } = this
    const at = output.reserve(CHUNK_HEADER_BYTES + payload.length)
    encodeChunkHeader(output.buffer, at, ChunkFlag.done, type, cookieHigh, cookieLow, payload.length)
    payload.copy(output.buffer, at + CHUNK_HEADER_BYTES)
    output.commit(CHUNK_HEADER_BYTES + payload.length)
  }

  #sendRefusal(cookieHigh: number, cookieLow: number, { error, message }: Refusal): void {
    if (this.agreement.structuredReplies) {
      return this.#sendChunk(ChunkType.error, cookieHigh, cookieLow, encodeReplyError({ error, message, offset: null }))
    }
    const at = this.output.reserve(SIMPLE_REPLY_BYTES)
    encodeSimpleReply(this.output.buffer, at, error, cookieHigh, cookieLow)
    this.output.commit(SIMPLE_REPLY_BYTES)
  }

  /** A request that the disk failed. What carries no errno is a bug: the client gets EIO, the log gets the stack. */
  #sendError(cookieHigh: number, cookieLow: number, error: unknown): void {
    const errno = (error as { errno?: unknown } | null)?.errno
    const known = typeof errno === 'string' && errno in ERROR_NUMBERS
    if (!known) this.logger.error({ err: error, disk: this.disk.name }, 'a request failed in an unforeseen way')
    const number = known ? ERROR_NUMBERS[errno as keyof typeof ERROR_NUMBERS] : ERROR_NUMBERS.EIO
    this.#sendRefusal(cookieHigh, cookieLow, { error: number, message: messageOf(error) })
  }
}

const NO_CONTEXT: Refusal = { error: ERROR_NUMBERS.EINVAL, message: 'base:allocation was not negotiated' }

/**
 * At most `limit` descriptors that describe `length` bytes from their start; neighbours of one kind are one. A disk that
 * knows nothing has plain data.
 */
function statusOf(extents: readonly AllocationExtent[], length: number, limit: number): StatusExtent[] {
  const found: { length: number; flags: number }[] = []
  let described = 0
  for (const extent of extents) {
    if (described >= length) break
    const flags = (extent.hole ? AllocationFlag.hole : 0) | (extent.zero ? AllocationFlag.zero : 0)
    const bytes = Math.min(extent.length, length - described)
    const last = found[found.length - 1]
    if (last?.flags === flags) last.length += bytes
    else if (found.length === limit) break
    else found.push({ length: bytes, flags })
    described += bytes
  }
  return found.length > 0 ? found : [{ length, flags: 0 }]
}
