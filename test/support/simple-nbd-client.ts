import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'

/**
 * A small NBD client that shares no code with src/, so that both cannot be wrong alike. It opens an export with
 * NBD_OPT_GO and keeps to simple replies; many requests may be in flight.
 */
export interface SimpleNbdClient {
  readonly sizeBytes: number
  /** Transmission flags of the export. */
  readonly flags: number
  read(offset: number, length: number): Promise<Buffer>
  write(offset: number, data: Buffer, options?: { readonly fua?: boolean }): Promise<void>
  flush(): Promise<void>
  trim(offset: number, length: number): Promise<void>
  writeZeroes(offset: number, length: number): Promise<void>
  /** Ends when the connection is gone, whoever closed it. */
  readonly closed: Promise<void>
  /** Says NBD_CMD_DISC and closes. */
  close(): Promise<void>
}

/** The server refused a request. */
export class NbdReplyError extends Error {
  constructor(readonly errno: number) {
    super(`the NBD server answers with error ${errno}`)
  }
}

const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const
const FLAG_FUA = 1
const REQUEST_MAGIC = 0x25609513
const REPLY_MAGIC = 0x67446698
const GO = 7
const REPLY_ACK = 1
const REPLY_INFO = 3
const INFO_EXPORT = 0

interface Waiting {
  /** Bytes of data that follow a good reply. */
  readonly length: number
  resolve(data: Buffer): void
  reject(error: Error): void
}

const HANDSHAKE_MILLISECONDS = 20_000

/** Connects to a unix socket; throws where the server refuses the export, hangs up, or says nothing for 20 s. */
export async function connectSimpleNbd(socketPath: string, exportName = ''): Promise<SimpleNbdClient> {
  const socket = createConnection(socketPath)
  const silence = setTimeout(() => socket.destroy(), HANDSHAKE_MILLISECONDS)
  await once(socket, 'connect')
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  const take = reader(socket)
  const { sizeBytes, flags } = await handshake(socket, take, exportName).finally(() => clearTimeout(silence))
  const waiting = new Map<bigint, Waiting>()

  const receive = async (): Promise<void> => {
    for (;;) {
      const header = await take(16)
      if (header.readUInt32BE(0) !== REPLY_MAGIC) throw new Error('not a simple reply')
      const cookie = header.readBigUInt64BE(8)
      const request = waiting.get(cookie)
      if (request === undefined) throw new Error('a reply to no request')
      const errno = header.readUInt32BE(4)
      const data = errno === 0 ? await take(request.length) : null
      waiting.delete(cookie)
      if (data === null) request.reject(new NbdReplyError(errno))
      else request.resolve(data)
    }
  }
  receive().catch((error: unknown) => {
    socket.destroy()
    for (const { reject } of waiting.values()) reject(error as Error)
    waiting.clear()
  })

  let lastCookie = 0n
  const send = (type: number, offset: number, length: number, data: Buffer | null, flags = 0): Promise<Buffer> => {
    if (socket.destroyed) return Promise.reject(new Error('the NBD connection is gone'))
    const cookie = ++lastCookie
    const request = Buffer.alloc(28)
    request.writeUInt32BE(REQUEST_MAGIC, 0)
    request.writeUInt16BE(flags, 4)
    request.writeUInt16BE(type, 6)
    request.writeBigUInt64BE(cookie, 8)
    request.writeBigUInt64BE(BigInt(offset), 16)
    request.writeUInt32BE(length, 24)
    const answer = new Promise<Buffer>((resolve, reject) =>
      waiting.set(cookie, { length: type === COMMAND.read ? length : 0, resolve, reject }),
    )
    socket.write(request)
    if (data !== null) socket.write(data)
    return answer
  }

  return {
    sizeBytes,
    flags,
    closed,
    read: (offset, length) => send(COMMAND.read, offset, length, null),
    async write(offset, data, options = {}) {
      await send(COMMAND.write, offset, data.length, data, options.fua === true ? FLAG_FUA : 0)
    },
    async flush() {
      await send(COMMAND.flush, 0, 0, null)
    },
    async trim(offset, length) {
      await send(COMMAND.trim, offset, length, null)
    },
    async writeZeroes(offset, length) {
      await send(COMMAND.writeZeroes, offset, length, null)
    },
    async close() {
      void send(COMMAND.disconnect, 0, 0, null).catch(() => {})
      socket.end()
      await closed
    },
  }
}

type Take = (length: number) => Promise<Buffer>

/** Reads exactly the bytes that are asked for; rejects where the connection ends before. */
function reader(socket: Socket): Take {
  let chunks: Buffer[] = []
  let available = 0
  let wanted = 0
  let wake: (() => void) | null = null
  let ended = false
  socket.on('data', (chunk) => {
    chunks.push(chunk as Buffer)
    available += chunk.length
    if (available >= wanted) wake?.()
  })
  socket.on('close', () => {
    ended = true
    wake?.()
  })
  return async (length) => {
    wanted = length
    if (available < length && !ended) await new Promise<void>((resolve) => (wake = resolve))
    if (available < length) throw new Error('the NBD connection is gone')
    const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
    chunks = available === length ? [] : [all.subarray(length)]
    available -= length
    return all.subarray(0, length)
  }
}

async function handshake(
  socket: Socket,
  take: Take,
  exportName: string,
): Promise<{ sizeBytes: number; flags: number }> {
  const greeting = await take(18)
  if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('not an NBD server')
  const name = Buffer.from(exportName)
  const option = Buffer.alloc(4 + 16 + 4 + name.length + 2)
  option.writeUInt32BE(greeting.readUInt16BE(16) & 3, 0)
  option.write('IHAVEOPT', 4, 'latin1')
  option.writeUInt32BE(GO, 12)
  option.writeUInt32BE(4 + name.length + 2, 16)
  option.writeUInt32BE(name.length, 20)
  name.copy(option, 24)
  socket.write(option)
  let seen: { sizeBytes: number; flags: number } | null = null
  for (;;) {
    const header = await take(20)
    const type = header.readUInt32BE(12)
    const data = await take(header.readUInt32BE(16))
    if (type === REPLY_ACK && seen !== null) return seen
    if (type >= 0x8000_0000) throw new Error(`the NBD server refuses the export "${exportName}": ${data.toString()}`)
    if (type === REPLY_INFO && data.readUInt16BE(0) === INFO_EXPORT) {
      seen = { sizeBytes: Number(data.readBigUInt64BE(2)), flags: data.readUInt16BE(10) }
    }
  }
}
