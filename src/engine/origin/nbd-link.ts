import type { Clock } from '../../base/clock.js'
import { messageOf } from '../../base/errors.js'
import type { Logger } from '../../base/logger.js'
import type { ClientAgreement } from '../../protocol/nbd/client-negotiation.js'
import { Command, DEFAULT_MAXIMUM_PAYLOAD_BYTES, TransmissionFlag } from '../../protocol/nbd/constants.js'
import { connectNbd, type ClientRequest, type NbdClient, type RequestOutcome } from '../nbd/nbd-client.js'
import type { NbdUri } from './nbd-uri.js'
import { OriginError } from './origin.js'

export interface NbdLinkOptions {
  readonly clock: Clock
  readonly logger: Logger
  /** How long a request waits for a connection before it fails. */
  readonly reconnectMilliseconds: number
  /** For a connect and its handshake. */
  readonly handshakeMilliseconds: number
}

const FIRST_RETRY_MILLISECONDS = 100
const LAST_RETRY_MILLISECONDS = 5_000

/** A request of the link's user, from its first sending to its last. */
interface LinkRequest extends ClientRequest {
  /** Since when it has no connection to travel on; from its first loss on it keeps that time. */
  waitingSince: number | null
  fail(error: OriginError): void
}

/**
 * A connection to an NBD server that is made again when it is lost.
 *
 * What was not answered when it was lost is sent again on the next connection, but for flushes: they fail, for what they
 * were to cover may have been lost with it. A request that had no connection for too long fails with EIO. Nothing is ever
 * sent to a server that came back as a different one (another size, fewer abilities): what waits fails at once.
 */
export class NbdLink {
  #client: NbdClient | null = null
  #agreement: ClientAgreement
  #session = 1
  /** Sent before and unanswered, or never sent; in order. Not empty only while there is no connection. */
  #waiting: LinkRequest[] = []
  #failedAttempts = 0
  #lastFailure = ''
  #cancelRetry: () => void = () => {}
  #cancelExpiry: (() => void) | null = null
  #closed = false

  /** Use {@link openNbdLink}. */
  constructor(
    private readonly uri: NbdUri,
    private readonly options: NbdLinkOptions,
    client: NbdClient,
  ) {
    this.#agreement = client.agreement
    this.#use(client)
  }

  /** What the server offers; what it offered last, while there is no connection. */
  get agreement(): ClientAgreement {
    return this.#agreement
  }

  /** Rises when a connection is lost, and by {@link endSession}. */
  get session(): number {
    return this.#session
  }

  /** Says that what the server was sent and did not flush may be lost. */
  endSession(): void {
    this.#session++
  }

  /** Resolves with what the server answers, be it an error; rejects with {@link OriginError} where it does not. */
  request(
    command: number,
    flags: number,
    offset: number,
    length: number,
    data: Uint8Array | null,
  ): Promise<RequestOutcome> {
    return new Promise((settle, fail) => {
      const request: LinkRequest = { command, flags, offset, length, data, settle, fail, waitingSince: null }
      if (this.#closed) fail(this.#error('it is closed', 'ESHUTDOWN'))
      else if (this.#client !== null) this.#client.send(request)
      else this.#wait(request)
    })
  }

  /** Says goodbye; whatever is unanswered fails. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#cancelRetry()
    this.#client?.close()
    this.#failWaiting(this.#error('it is closed', 'ESHUTDOWN'))
  }

  #error(problem: string, errno: OriginError['errno'] = 'EIO'): OriginError {
    return new OriginError(`origin ${this.uri.canonical}: ${problem}`, errno)
  }

  #use(client: NbdClient): void {
    this.#client = client
    this.#agreement = client.agreement
    client.onLost = (reason, unanswered) => this.#lost(client, reason, unanswered as LinkRequest[])
    const waiting = this.#waiting
    this.#waiting = []
    for (const request of waiting) client.send(request)
  }

  #lost(client: NbdClient, reason: Error, unanswered: readonly LinkRequest[]): void {
    this.#client = null
    this.#session++
    this.#lastFailure = messageOf(reason)
    if (client.answered > 0) this.#failedAttempts = 0
    for (const request of unanswered) {
      if (this.#closed) request.fail(this.#error('it is closed', 'ESHUTDOWN'))
      else if (request.command === Command.flush) request.fail(this.#error(`lost in a flush: ${this.#lastFailure}`))
      else this.#wait(request)
    }
    if (this.#closed) return
    this.options.logger.warn(
      { origin: this.uri.canonical, reason: this.#lastFailure },
      'lost the connection to an origin',
    )
    this.#scheduleAttempt()
  }

  /** The first attempt is made at once, unless the last connection was lost before it answered anything. */
  #scheduleAttempt(): void {
    const attempts = this.#failedAttempts++
    const delay = attempts === 0 ? 0 : FIRST_RETRY_MILLISECONDS * 2 ** (attempts - 1)
    const attempt = (): void => void this.#attempt()
    this.#cancelRetry = this.options.clock.after(Math.min(delay, LAST_RETRY_MILLISECONDS), attempt)
  }

  async #attempt(): Promise<void> {
    const { clock, handshakeMilliseconds, logger } = this.options
    try {
      const client = await connectNbd(this.uri.address, this.uri.exportName, {
        clock,
        timeoutMilliseconds: handshakeMilliseconds,
      })
      if (this.#closed) return client.close()
      const difference = differenceOf(this.#agreement, client.agreement)
      if (difference === null) {
        logger.info({ origin: this.uri.canonical }, 'connected to an origin again')
        return this.#use(client)
      }
      client.close()
      this.#lastFailure = difference
      this.#failWaiting(this.#error(difference))
    } catch (error) {
      this.#lastFailure = messageOf(error)
    }
    if (!this.#closed) this.#scheduleAttempt()
  }

  #wait(request: LinkRequest): void {
    request.waitingSince ??= this.options.clock.monotonic()
    this.#waiting.push(request)
    if (this.#cancelExpiry === null) this.#scheduleExpiry()
  }

  #scheduleExpiry(): void {
    const { clock, reconnectMilliseconds } = this.options
    const since = this.#waiting.reduce((least, { waitingSince }) => Math.min(least, waitingSince!), Infinity)
    const delay = Math.max(0, since + reconnectMilliseconds - clock.monotonic())
    this.#cancelExpiry = clock.after(delay, () => this.#expire())
  }

  /** Fails what has waited long enough. A request that met several losses may be past its time at the next. */
  #expire(): void {
    this.#cancelExpiry = null
    const { clock, reconnectMilliseconds } = this.options
    const limit = clock.monotonic() - reconnectMilliseconds
    const expired = this.#waiting.filter(({ waitingSince }) => waitingSince! <= limit)
    this.#waiting = this.#waiting.filter(({ waitingSince }) => waitingSince! > limit)
    const seconds = reconnectMilliseconds / 1000
    for (const request of expired) request.fail(this.#error(`no connection for ${seconds} s: ${this.#lastFailure}`))
    if (this.#waiting.length > 0) this.#scheduleExpiry()
  }

  #failWaiting(error: OriginError): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const request of waiting) request.fail(error)
  }
}

/** Connects for the first time; rejects as connectNbd does. */
export async function openNbdLink(uri: NbdUri, options: NbdLinkOptions): Promise<NbdLink> {
  const { clock, handshakeMilliseconds } = options
  const client = await connectNbd(uri.address, uri.exportName, { clock, timeoutMilliseconds: handshakeMilliseconds })
  return new NbdLink(uri, options, client)
}

/** Smallest and largest unit of a request that the server takes ("Block size constraints"). */
export function blockLimitsOf({ information }: ClientAgreement): { minimum: number; maximum: number } {
  const { minimum = 1, maximum = DEFAULT_MAXIMUM_PAYLOAD_BYTES } = information.blockSizes ?? {}
  const largest = Math.min(maximum, DEFAULT_MAXIMUM_PAYLOAD_BYTES)
  return { minimum, maximum: largest - (largest % minimum) }
}

/** Why a server that came back cannot take the place of the one before; null where it can. */
function differenceOf(before: ClientAgreement, now: ClientAgreement): string | null {
  const [oldSize, newSize] = [before.information.sizeBytes, now.information.sizeBytes]
  if (oldSize !== newSize) return `its size changed from ${oldSize} to ${newSize} bytes`
  const [oldLimits, newLimits] = [blockLimitsOf(before), blockLimitsOf(now)]
  if (newLimits.minimum > oldLimits.minimum || newLimits.maximum < oldLimits.maximum) {
    return 'its block size constraints became narrower'
  }
  if (before.allocationContextId !== null && now.allocationContextId === null) {
    return 'it reports no block status any more'
  }
  const [oldFlags, newFlags] = [before.information.flags, now.information.flags]
  if ((oldFlags & ~newFlags) !== 0 || ((oldFlags ^ newFlags) & TransmissionFlag.readOnly) !== 0) {
    return `its flags changed from 0x${oldFlags.toString(16)} to 0x${newFlags.toString(16)}`
  }
  return null
}
