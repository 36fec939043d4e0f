import type { OnReadOpts, Socket } from 'node:net'
import type { Clock } from '../../base/clock.js'
import { messageOf } from '../../base/errors.js'
import type { Logger } from '../../base/logger.js'
import { NbdProtocolError } from '../../protocol/nbd/protocol-error.js'
import { ServerNegotiation } from '../../protocol/nbd/server-negotiation.js'
import type { ServedDisk } from '../disk/served-disk.js'
import type { AdoptedSocket } from './adopt-socket.js'
import type { BufferPool } from './buffer-pool.js'
import { informationOf, type ExportTable } from './export-table.js'
import { GatheredOutput } from './gathered-output.js'
import { Transmission, type TransmissionLimits } from './transmission.js'
import { threadWakefulness } from './wakefulness.js'

export interface ConnectionLimits extends TransmissionLimits {
  /** From the connect to the end of the handshake. */
  readonly handshakeMilliseconds: number
  /** How long a client may take to read the replies to its last requests once it is being disconnected. */
  readonly closeMilliseconds: number
}

export interface ConnectionContext {
  readonly exports: ExportTable
  readonly limits: ConnectionLimits
  readonly pool: BufferPool
  readonly clock: Clock
  readonly logger: Logger
  /** The handshake is over: the connection waits for {@link NbdConnection.serve}. */
  onAgreed(connection: NbdConnection): void
  /** The socket is closed and every request has ended. */
  onEnded(connection: NbdConnection): void
}

/**
 * handshake -> held -> serving -> finishing -> closed; any state may lead to closed. *Held*: agreed, but not yet served.
 * *Finishing*: takes no more requests, closes when those in flight have been answered. *Closed*: the socket is gone;
 * requests may still be in flight.
 */
type Phase = 'handshake' | 'held' | 'serving' | 'finishing' | 'closed'

const READ_BUFFER_BYTES = 256 * 1024
/** A client that talks in the handshake without listening is not heard beyond this. */
const MAXIMUM_HANDSHAKE_OUTPUT_BYTES = 1024 * 1024

/**
 * One client, from accept to the end of its last request. Bytes are read into one buffer, which is taken up before more is
 * read; where a limit stops that, the socket is paused until a write has succeeded.
 */
export class NbdConnection {
  readonly #adopted: AdoptedSocket
  readonly #socket: Socket
  readonly #bytes = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  /** What of `#bytes` has been read but not taken up. */
  #start = 0
  #end = 0
  #paused = false
  #phase: Phase = 'handshake'
  readonly #negotiation: ServerNegotiation
  #transmission: Transmission | null = null
  #disk: ServedDisk | null = null
  readonly #output: GatheredOutput
  readonly #cancelTimeout: () => void
  #flushScheduled = false
  #cancelFinish: (() => void) | null = null

  constructor(
    adopt: (onread: OnReadOpts) => AdoptedSocket,
    private readonly context: ConnectionContext,
  ) {
    const { exports, limits, clock } = context
    this.#negotiation = new ServerNegotiation({
      names: () => exports.names(),
      information: (name) => {
        const disk = exports.find(name)
        return disk && informationOf(disk)
      },
    })
    this.#adopted = adopt({ buffer: this.#bytes, callback: (count) => this.#received(count) })
    this.#socket = this.#adopted.socket
    this.#output = new GatheredOutput(this.#adopted.sink, context.pool, () => this.#written())
    this.#socket.on('error', (error) => context.logger.debug({ err: error }, 'an NBD connection failed'))
    this.#socket.on('close', () => this.#closed())
    this.#cancelTimeout = clock.after(limits.handshakeMilliseconds, () => this.#drop('the handshake took too long'))
    this.#sendNegotiation()
  }

  /** The disk that was agreed on; null before. */
  get disk(): ServedDisk | null {
    return this.#disk
  }

  /** Whether no more will come from the client than what it has sent; requests of it may be in flight, or still unread. */
  get leaving(): boolean {
    return this.#phase === 'closed' || this.#phase === 'finishing' || this.#adopted.peerHasLeft()
  }

  /** Ends the wait after the handshake. */
  serve(): void {
    if (this.#phase !== 'held') return
    this.#phase = 'serving'
    this.#continue()
  }

  /** Takes no more requests and closes when those in flight are answered, or when the client has not read that for a while. */
  finish(): void {
    if (this.#phase === 'closed' || this.#phase === 'finishing') return
    this.#phase = 'finishing'
    this.#endIfFinished()
  }

  /** `count` bytes were read to the start of the buffer. Returns whether to read on. */
  #received(count: number): boolean {
    this.#start = 0
    this.#end = count
    threadWakefulness.received()
    this.#work()
    threadWakefulness.answered()
    this.#paused = !this.#wantsMore
    return !this.#paused
  }

  get #wantsMore(): boolean {
    return this.#start === this.#end && (this.#phase === 'handshake' || this.#phase === 'serving') && !this.#stalled
  }

  get #stalled(): boolean {
    if (this.#transmission !== null) return this.#transmission.stalled
    return this.#output.heldBytes > MAXIMUM_HANDSHAKE_OUTPUT_BYTES
  }

  /** Takes up what was read, as far as the phase and the limits allow, and sends the replies. */
  #work(): void {
    try {
      if (this.#phase === 'handshake') this.#negotiate()
      if (this.#phase === 'serving') this.#transmit()
    } catch (error) {
      if (!(error instanceof NbdProtocolError)) throw error
      this.#drop(messageOf(error))
    }
    this.#send()
  }

  /** Sends what was gathered. What the socket takes at once makes room, too; it is used in the next turn of the event loop. */
  #send(): void {
    if (!this.#output.flush()) return
    if (this.#start < this.#end || this.#stalled || this.#phase === 'finishing') setImmediate(() => this.#written())
  }

  #negotiate(): void {
    const negotiation = this.#negotiation
    do {
      this.#start = negotiation.receive(this.#bytes, this.#start, this.#end)
      this.#sendNegotiation()
    } while (this.#start < this.#end && !this.#stalled && negotiation.agreement === null && negotiation.closed === null)
    if (negotiation.closed !== null) {
      this.context.logger.debug({ reason: negotiation.closed }, 'an NBD handshake came to nothing')
      return this.finish()
    }
    const { agreement } = negotiation
    if (agreement === null) return
    this.#cancelTimeout()
    const { exports, pool, limits, logger } = this.context
    const disk = exports.find(agreement.exportName)
    if (disk === undefined) return this.#drop(`the export ${JSON.stringify(agreement.exportName)} went away`)
    this.#disk = disk
    this.#transmission = new Transmission(disk, agreement, this.#output, pool, limits, logger, () => this.#settled())
    this.#phase = 'held'
    this.context.onAgreed(this)
  }

  #sendNegotiation(): void {
    for (const bytes of this.#negotiation.takeOutput()) this.#output.append(bytes, null)
    this.#send()
  }

  #transmit(): void {
    const transmission = this.#transmission!
    this.#start = transmission.receive(this.#bytes, this.#start, this.#end)
    if (transmission.disconnected) this.finish()
  }

  /** The socket has taken what was gathered. */
  #written(): void {
    this.#continue()
    this.#endIfFinished()
  }

  /** Goes on with what was left when the socket was paused. */
  #continue(): void {
    if (!this.#paused) return
    this.#work()
    if (!this.#wantsMore) return
    this.#paused = false
    this.#socket.resume()
  }

  /** A request has ended. Its reply is sent together with others of this turn of the event loop. */
  #settled(): void {
    if (this.#phase === 'closed') {
      if (this.#transmission!.requestsInFlight === 0) this.context.onEnded(this)
      return
    }
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    setImmediate(() => {
      this.#flushScheduled = false
      this.#send()
      this.#endIfFinished()
    })
  }

  /** Closes once every request is answered; the client gets its time to read only from then on. */
  #endIfFinished(): void {
    if (this.#phase !== 'finishing') return
    if (this.#transmission !== null && this.#transmission.requestsInFlight > 0) return
    if (this.#output.idle) {
      this.#socket.destroy()
      return
    }
    const { clock, limits } = this.context
    this.#cancelFinish ??= clock.after(limits.closeMilliseconds, () => this.#drop('it did not read its last replies'))
  }

  #drop(reason: string): void {
    this.context.logger.debug({ reason, disk: this.#disk?.name }, 'an NBD connection was dropped')
    this.#socket.destroy()
  }

  #closed(): void {
    this.#phase = 'closed'
    this.#cancelTimeout()
    this.#cancelFinish?.()
    this.#output.close()
    this.#transmission?.abandon()
    if (this.#transmission === null || this.#transmission.requestsInFlight === 0) this.context.onEnded(this)
  }
}
