import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listenUnix } from '../../src/base/system-calls.js'
import type { ServedDisk } from '../../src/engine/disk/served-disk.js'
import { singleExport, type ExportTable } from '../../src/engine/nbd/export-table.js'
import { NbdServer, type NbdServerLimits } from '../../src/engine/nbd/nbd-server.js'
import { ClientNegotiation, type ClientAgreement } from '../../src/protocol/nbd/client-negotiation.js'
import { CHUNK_HEADER_BYTES } from '../../src/protocol/nbd/reply.js'
import { encodeRequest, REQUEST_BYTES, RequestHeader } from '../../src/protocol/nbd/request.js'

/** NBD servers of a test, each on a socket of its own in one temporary directory. */
export class NbdServing {
  #directory: string | null = null
  #count = 0
  readonly #servers = new Set<NbdServer>()
  readonly #clients = new Set<RawNbdClient>()

  async directory(): Promise<string> {
    return (this.#directory ??= await mkdtemp(join(tmpdir(), 'vmcache-nbd-')))
  }

  /** Serves a disk, or a table, on a new socket (or again on `socket`). */
  async serve(
    what: ServedDisk | ExportTable,
    options: { limits?: Partial<NbdServerLimits>; socket?: string } = {},
  ): Promise<{ server: NbdServer; socket: string; uri: string }> {
    const socket = options.socket ?? join(await this.directory(), `${this.#count++}.sock`)
    await rm(socket, { force: true })
    const server = new NbdServer({
      listenDescriptor: listenUnix(socket, { backlog: 64 }),
      exports: 'find' in what ? what : singleExport(what),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    })
    server.start()
    this.#servers.add(server)
    return { server, socket, uri: `nbd+unix:///?socket=${socket}` }
  }

  async connect(socket: string): Promise<RawNbdClient> {
    const client = await RawNbdClient.connect(socket)
    this.#clients.add(client)
    return client
  }

  async close(server: NbdServer): Promise<void> {
    if (this.#servers.delete(server)) await server.close()
  }

  /** For `afterEach`. */
  async closeAll(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    this.#clients.clear()
    await Promise.all([...this.#servers].map((server) => this.close(server)))
    if (this.#directory !== null) await rm(this.#directory, { recursive: true })
    this.#directory = null
  }
}

/** One chunk of a structured reply. */
export interface Chunk {
  readonly flags: number
  readonly type: number
  readonly cookie: number
  readonly payload: Buffer
}

/** A connection whose bytes a test has in its hand. */
export class RawNbdClient {
  #received: Buffer[] = []
  #receivedBytes = 0
  #wake: () => void = () => {}
  /** Ends when the connection is gone, whoever closed it. */
  readonly closed: Promise<void>
  #isClosed = false

  private constructor(readonly socket: Socket) {
    socket.on('data', (bytes) => {
      this.#received.push(bytes)
      this.#receivedBytes += bytes.length
      this.#wake()
    })
    socket.on('error', () => {})
    this.closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.#isClosed = true
        this.#wake()
        resolve()
      }),
    )
  }

  static connect(path: string): Promise<RawNbdClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new RawNbdClient(socket))
      })
    })
  }

  send(...pieces: Uint8Array[]): void {
    this.socket.write(Buffer.concat(pieces))
  }

  /** Takes exactly `length` bytes; rejects where the connection ends before. */
  async take(length: number): Promise<Buffer> {
    while (this.#receivedBytes < length) {
      if (this.#isClosed) throw new Error(`the server hung up after ${this.#receivedBytes} of ${length} bytes`)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    const all = Buffer.concat(this.#received)
    this.#received = [all.subarray(length)]
    this.#receivedBytes -= length
    return all.subarray(0, length)
  }

  /** Does the handshake as vmcache's own client does it. */
  async negotiate(exportName = ''): Promise<ClientAgreement> {
    const negotiation = new ClientNegotiation(exportName)
    for (;;) {
      const byte = await this.take(1)
      negotiation.receive(byte, 0, 1)
      for (const bytes of negotiation.takeOutput()) this.send(bytes)
      if (negotiation.refusal !== null) throw new Error(negotiation.refusal.reason)
      if (negotiation.agreement !== null) return negotiation.agreement
    }
  }

  /** Sends a request; what is left out is zero. */
  request(request: Partial<RequestHeader> & { cookie?: number }, payload: Uint8Array = Buffer.alloc(0)): void {
    this.send(requestBytes(request), payload)
  }

  async chunk(): Promise<Chunk> {
    const header = await this.take(CHUNK_HEADER_BYTES)
    if (header.readUInt32BE(0) !== 0x668e33ef) throw new Error(`no chunk: ${header.toString('hex')}`)
    const payload = await this.take(header.readUInt32BE(16))
    return { flags: header.readUInt16BE(4), type: header.readUInt16BE(6), cookie: header.readUInt32BE(12), payload }
  }

  async simpleReply(): Promise<{ error: number; cookie: number }> {
    const header = await this.take(16)
    if (header.readUInt32BE(0) !== 0x67446698) throw new Error(`no simple reply: ${header.toString('hex')}`)
    return { error: header.readUInt32BE(4), cookie: header.readUInt32BE(12) }
  }

  destroy(): void {
    this.socket.destroy()
  }
}

export function requestBytes({ cookie = 0, ...fields }: Partial<RequestHeader> & { cookie?: number }): Buffer {
  const bytes = Buffer.alloc(REQUEST_BYTES)
  encodeRequest(bytes, 0, Object.assign(new RequestHeader(), { cookieLow: cookie }, fields))
  return bytes
}
