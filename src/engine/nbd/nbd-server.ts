/**
 * engine/nbd/: disks served over NBD, and the client that reads other servers.
 *
 * A *connection* is held to the protocol by the codecs of protocol/nbd; its requests go to a ServedDisk. What is *in
 * flight* has been given to the disk and was not answered yet. Everything here belongs to one thread.
 */
import { createServer, type OnReadOpts, type Server, type Socket } from 'node:net'
import { assert } from '../../base/assert.js'
import { systemClock, type Clock } from '../../base/clock.js'
import { silentLogger, type Logger } from '../../base/logger.js'
import { adoptDescriptor, adoptSocket, descriptorOf, type AdoptedSocket } from './adopt-socket.js'
import { threadBufferPool, type BufferPool } from './buffer-pool.js'
import type { ExportTable } from './export-table.js'
import { NbdConnection, type ConnectionContext, type ConnectionLimits } from './nbd-connection.js'

export interface NbdServerLimits extends ConnectionLimits {
  readonly connections: number
}

export const DEFAULT_NBD_SERVER_LIMITS: NbdServerLimits = {
  connections: 256,
  requestsInFlight: 256,
  bytesInFlight: 32 * 1024 * 1024,
  handshakeMilliseconds: 30_000,
  closeMilliseconds: 5_000,
}

export interface NbdServerOptions {
  /**
   * A listening unix socket. The server closes the descriptor; the socket lives on in whoever else has it open. Null for a server that serves
   * what others accept, by {@link NbdServer.serve}.
   */
  readonly listenDescriptor: number | null
  readonly exports: ExportTable
  readonly logger?: Logger
  readonly limits?: Partial<NbdServerLimits>
  readonly clock?: Clock
  readonly pool?: BufferPool
  /**
   * Asked for each new connection: who else takes its descriptor; undefined where it is to be served here. For disks that nobody writes:
   * connections of different servers do not wait for each other's requests.
   */
  readonly elsewhere?: () => ((descriptor: number) => void) | undefined
  /** Called when a connection has ended. */
  readonly onEnded?: () => void
}

/**
 * Accepts connections of one socket and serves the disks of a table.
 *
 * A client that lost its connection sends its unanswered requests again on a new one, and goes on from there. So before a
 * new connection is served, every request of its disk is waited for whose client has left: an old write must not overtake
 * a new one.
 */
export class NbdServer {
  readonly #server: Server
  readonly #descriptor: number | null
  readonly #limits: NbdServerLimits
  readonly #logger: Logger
  readonly #context: ConnectionContext
  readonly #elsewhere: NonNullable<NbdServerOptions['elsewhere']>
  readonly #onEnded: () => void
  readonly #connections = new Set<NbdConnection>()
  /** Connections that are held back, and whom each waits for. */
  readonly #held = new Map<NbdConnection, Set<NbdConnection>>()
  #state: 'new' | 'started' | 'closing' = 'new'
  #onEmpty: (() => void) | null = null

  constructor(options: NbdServerOptions) {
    this.#descriptor = options.listenDescriptor
    this.#limits = { ...DEFAULT_NBD_SERVER_LIMITS, ...options.limits }
    this.#logger = options.logger ?? silentLogger
    this.#context = {
      exports: options.exports,
      limits: this.#limits,
      pool: options.pool ?? threadBufferPool,
      clock: options.clock ?? systemClock,
      logger: this.#logger,
      onAgreed: (connection) => this.#hold(connection),
      onEnded: (connection) => this.#ended(connection),
    }
    this.#elsewhere = options.elsewhere ?? (() => undefined)
    this.#onEnded = options.onEnded ?? (() => undefined)
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket))
    this.#server.on('error', (error) => this.#logger.error({ err: error }, 'a listening NBD socket failed'))
  }

  /** Connections that are open, or of which requests are still in flight. */
  get connections(): number {
    return this.#connections.size
  }

  start(): void {
    assert(this.#state === 'new', 'an NBD server is started once')
    this.#state = 'started'
    if (this.#descriptor !== null) this.#server.listen({ fd: this.#descriptor })
  }

  /**
   * Accepts no more, lets requests in flight end and be answered, then closes every connection. Requests that a client has
   * sent but that were not begun are dropped unanswered: a client that reconnects sends them again.
   */
  async close(): Promise<void> {
    assert(this.#state === 'started', 'an NBD server is closed once, after it was started')
    this.#state = 'closing'
    this.#server.close()
    for (const connection of this.#connections) connection.finish()
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve))
  }

  /** Serves a connection that somebody else accepted; its descriptor is the server's from now on. */
  serve(descriptor: number): void {
    this.#add((onread) => adoptDescriptor(descriptor, onread))
  }

  #accept(socket: Socket): void {
    const elsewhere = this.#state === 'closing' ? undefined : this.#elsewhere()
    if (elsewhere !== undefined) return elsewhere(descriptorOf(socket))
    this.#add((onread) => adoptSocket(socket, onread))
  }

  #add(adopt: (onread: OnReadOpts) => AdoptedSocket): void {
    if (this.#state === 'closing' || this.#connections.size >= this.#limits.connections) {
      this.#logger.warn({ connections: this.#connections.size }, 'an NBD connection was turned away')
      adopt({ buffer: Buffer.alloc(1), callback: () => false }).socket.destroy()
      return this.#onEnded()
    }
    this.#connections.add(new NbdConnection(adopt, this.#context))
  }

  #hold(connection: NbdConnection): void {
    const others = [...this.#connections].filter(
      (other) => other !== connection && other.disk === connection.disk && other.leaving,
    )
    if (others.length === 0) return connection.serve()
    this.#logger.info(
      { disk: connection.disk?.name, connections: others.length },
      'waiting for requests of old clients',
    )
    this.#held.set(connection, new Set(others))
  }

  #release(connection: NbdConnection): void {
    for (const [held, waitsFor] of this.#held) {
      if (!waitsFor.delete(connection) || waitsFor.size > 0) continue
      this.#held.delete(held)
      held.serve()
    }
  }

  #ended(connection: NbdConnection): void {
    this.#connections.delete(connection)
    this.#held.delete(connection)
    this.#release(connection)
    this.#onEnded()
    if (this.#connections.size === 0) this.#onEmpty?.()
  }
}
