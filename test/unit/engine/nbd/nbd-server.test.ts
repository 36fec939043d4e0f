import { closeSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { listenUnix, receiveDescriptor, sendDescriptor, socketPair } from '../../../../src/base/system-calls.js'
import { DiskError } from '../../../../src/engine/disk/served-disk.js'
import { singleExport } from '../../../../src/engine/nbd/export-table.js'
import { DEFAULT_NBD_SERVER_LIMITS, NbdServer } from '../../../../src/engine/nbd/nbd-server.js'
import { ChunkType, Command, CommandFlag, Option, TransmissionFlag } from '../../../../src/protocol/nbd/constants.js'
import { encodeOption } from '../../../../src/protocol/nbd/option.js'
import { decodeBlockStatus, decodeReplyError } from '../../../../src/protocol/nbd/reply.js'
import { MemoryDisk } from '../../../support/memory-disk.js'
import { NbdServing, requestBytes, type RawNbdClient } from '../../../support/nbd-serving.js'
import { until } from '../../../support/processes.js'
import { connectSimpleNbd } from '../../../support/simple-nbd-client.js'

const serving = new NbdServing()
afterEach(() => serving.closeAll())

const MIB = 1024 * 1024

/** Makes calls of a disk wait until they are let go. */
class Gate {
  readonly #waiting: (() => void)[] = []
  #open = false

  readonly hook = (): Promise<void> | void => {
    if (!this.#open) return new Promise((resolve) => this.#waiting.push(resolve))
  }

  get waiting(): number {
    return this.#waiting.length
  }

  open(): void {
    this.#open = true
    for (const go of this.#waiting.splice(0)) go()
  }
}

async function open(disk: MemoryDisk, name = ''): Promise<RawNbdClient> {
  const { socket } = await serving.serve(disk)
  const client = await serving.connect(socket)
  await client.negotiate(name)
  return client
}

async function errorOf(client: RawNbdClient): Promise<{ error: number; message: string }> {
  const chunk = await client.chunk()
  expect(chunk.type).toBe(ChunkType.error)
  const { error, message } = decodeReplyError(chunk.type, chunk.payload)
  return { error, message }
}

describe('what is announced', () => {
  test('a disk that can do everything', async () => {
    const disk = new MemoryDisk({ name: 'web01/vda', minimumBlockBytes: 4096 })
    const { socket } = await serving.serve(disk)
    for (const name of ['', 'web01/vda']) {
      const { information, structuredReplies, allocationContextId } = await (
        await serving.connect(socket)
      ).negotiate(name)
      expect(information).toEqual({
        sizeBytes: MIB,
        flags: 0b1101_1110_1101,
        blockSizes: { minimum: 4096, preferred: 4096, maximum: 32 * MIB },
      })
      expect({ structuredReplies, allocationContextId }).toEqual({ structuredReplies: true, allocationContextId: 1 })
    }
  })

  test('a read-only disk takes no writes of any kind', async () => {
    const disk = new MemoryDisk({ readOnly: true }).fill()
    const client = await open(disk)
    for (const command of [Command.write, Command.trim, Command.writeZeroes]) {
      client.request({ command, length: 512 }, command === Command.write ? Buffer.alloc(512) : undefined)
      expect(await errorOf(client)).toMatchObject({ error: 1 })
    }
    client.request({ command: Command.flush })
    expect(await client.simpleReply()).toMatchObject({ error: 0 })
    expect(disk.calls.map(({ kind }) => kind)).toEqual(['flush'])
  })

  test('abilities that the disk lacks', async () => {
    const { socket } = await serving.serve(new MemoryDisk({ canTrim: false, canZero: false }))
    const client = await serving.connect(socket)
    const { flags } = (await client.negotiate()).information
    expect(flags & TransmissionFlag.sendTrim).toBe(0)
    expect(flags & TransmissionFlag.sendWriteZeroes).toBe(0)
    expect(flags & TransmissionFlag.sendFastZero).toBe(0)
    client.request({ command: Command.trim, length: 512 })
    expect(await errorOf(client)).toMatchObject({ error: 22 })
  })

  test('an unknown export is refused', async () => {
    const { socket } = await serving.serve(new MemoryDisk())
    await expect((await serving.connect(socket)).negotiate('nobody')).rejects.toThrow('nobody')
  })
})

describe('requests', () => {
  test('reads that hit and reads that miss give the same', async () => {
    const disk = new MemoryDisk().fill()
    const client = await open(disk)
    for (const hits of [true, false]) {
      disk.hits = hits
      for (const [offset, length] of [
        [0, 512],
        [4096, 65536],
        [0, MIB],
      ] as const) {
        client.request({ command: Command.read, cookie: 7, offset, length })
        const chunk = await client.chunk()
        expect(chunk).toMatchObject({ flags: 1, type: ChunkType.offsetData, cookie: 7 })
        expect(Number(chunk.payload.readBigUInt64BE(0))).toBe(offset)
        expect(chunk.payload.subarray(8).equals(disk.bytes.subarray(offset, offset + length))).toBe(true)
      }
    }
    expect(disk.calls).toHaveLength(3)
  })

  test('a client without structured replies gets simple ones', async () => {
    const disk = new MemoryDisk().fill()
    const { socket } = await serving.serve(disk)
    const client = await connectSimpleNbd(socket)
    expect((await client.read(512, 4096)).equals(disk.bytes.subarray(512, 4608))).toBe(true)
    disk.hits = false
    expect((await client.read(0, 512)).equals(disk.bytes.subarray(0, 512))).toBe(true)
    await client.write(0, Buffer.alloc(1024, 1), { fua: true })
    expect(disk.calls.at(-1)).toMatchObject({ kind: 'write', fua: true })
    await expect(client.read(MIB, 512)).rejects.toThrow('22')
    await expect(client.write(MIB, Buffer.alloc(512))).rejects.toThrow('28')
    await client.close()
  })

  test('every command reaches the disk with its range and flags', async () => {
    const disk = new MemoryDisk().fill()
    const client = await open(disk)
    const { write, flush, trim, writeZeroes, cache } = Command
    client.request({ command: write, flags: CommandFlag.fua, offset: 512, length: 1024 }, Buffer.alloc(1024, 0xaa))
    client.request({ command: flush })
    client.request({ command: trim, flags: CommandFlag.fua, offset: 4096, length: 8192 })
    client.request({ command: writeZeroes, flags: CommandFlag.noHole, offset: 65536, length: 4096 })
    client.request({ command: cache, offset: 0, length: 4096 })
    for (let count = 0; count < 5; count++) expect(await client.simpleReply()).toMatchObject({ error: 0 })
    expect(disk.calls).toEqual([
      { kind: 'write', offset: 512, length: 1024, fua: true },
      { kind: 'flush', offset: 0, length: 0, fua: false },
      { kind: 'trim', offset: 4096, length: 8192, fua: true },
      { kind: 'zero', offset: 65536, length: 4096, fua: false },
      { kind: 'prefetch', offset: 0, length: 4096, fua: false },
    ])
    expect(disk.bytes.subarray(512, 1536).equals(Buffer.alloc(1024, 0xaa))).toBe(true)
    expect(disk.bytes.subarray(65536, 69632).equals(Buffer.alloc(4096))).toBe(true)
  })

  test('block status describes the range, or its first extent', async () => {
    const disk = new MemoryDisk()
    await disk.write(8192, Buffer.alloc(4096), false)
    const client = await open(disk)
    client.request({ command: Command.blockStatus, length: 65536 })
    const all = decodeBlockStatus((await client.chunk()).payload)
    expect(all).toEqual({
      contextId: 1,
      extents: [
        { length: 8192, flags: 3 },
        { length: 4096, flags: 0 },
        { length: 53248, flags: 3 },
      ],
    })
    client.request({ command: Command.blockStatus, flags: CommandFlag.requestOne, offset: 4096, length: 65536 })
    expect(decodeBlockStatus((await client.chunk()).payload).extents).toEqual([{ length: 4096, flags: 3 }])
  })

  test('trims, zeroes, status and cache may be as long as the protocol allows', async () => {
    const disk = new MemoryDisk()
    const large = new Proxy(disk, {
      get: (target, key) => {
        if (key === 'sizeBytes') return 8 * 1024 * MIB
        if (key === 'trim' || key === 'zero' || key === 'prefetch') return async () => {}
        if (key === 'allocation') return async () => [{ length: 8 * 1024 * MIB, hole: true, zero: true }]
        return Reflect.get(target, key, target) as unknown
      },
    })
    const { socket } = await serving.serve(large)
    const client = await serving.connect(socket)
    await client.negotiate()
    const length = 0xffff_fe00
    for (const command of [Command.trim, Command.writeZeroes, Command.cache]) {
      client.request({ command, offset: 512, length })
      expect(await client.simpleReply()).toMatchObject({ error: 0 })
    }
    client.request({ command: Command.blockStatus, offset: 512, length })
    expect(decodeBlockStatus((await client.chunk()).payload).extents).toEqual([{ length, flags: 3 }])
  })

  test.each([
    ['an unknown command', { command: 4711, length: 512 }, 22],
    ['a read beyond the end', { command: Command.read, offset: MIB - 512, length: 1024 }, 22],
    ['a trim beyond the end', { command: Command.trim, offset: MIB, length: 512 }, 22],
    ['zeroes beyond the end', { command: Command.writeZeroes, offset: MIB - 512, length: 1024 }, 28],
    ['an offset beyond 2^53', { command: Command.read, offset: 2 ** 62, length: 512 }, 22],
    ['a misaligned offset', { command: Command.read, offset: 1, length: 512 }, 22],
    ['a misaligned length', { command: Command.read, offset: 0, length: 513 }, 22],
    ['no length', { command: Command.read, offset: 0, length: 0 }, 22],
    ['a read of more than 32 MiB', { command: Command.read, length: 32 * MIB + 512 }, 22],
    ['a flag of another command', { command: Command.read, flags: CommandFlag.noHole, length: 512 }, 22],
    ['an unknown flag', { command: Command.flush, flags: 0x8000 }, 22],
    ['a flush with a range', { command: Command.flush, length: 512 }, 22],
  ])('%s is refused, and the next request served', async (_, request, error) => {
    const disk = new MemoryDisk()
    const client = await open(disk)
    client.request({ cookie: 3, ...request })
    expect(await errorOf(client)).toMatchObject({ error })
    expect(disk.calls).toEqual([])
    client.request({ command: Command.read, length: 512 })
    expect((await client.chunk()).type).toBe(ChunkType.offsetData)
  })

  test.each([
    ['beyond the end', { offset: MIB, length: 1024 }, 28],
    ['misaligned', { offset: 0, length: 1000 }, 22],
    ['of more than 32 MiB', { offset: 0, length: 33 * MIB }, 22],
  ])('a write %s is refused and its payload passed over', async (_, request, error) => {
    const client = await open(new MemoryDisk())
    client.request({ command: Command.write, ...request }, Buffer.alloc(request.length))
    expect(await errorOf(client)).toMatchObject({ error })
    client.request({ command: Command.flush })
    expect(await client.simpleReply()).toMatchObject({ error: 0 })
  })

  test('block status needs its context', async () => {
    const { socket } = await serving.serve(new MemoryDisk())
    const client = await serving.connect(socket)
    await client.take(18)
    client.send(Buffer.from([0, 0, 0, 3]), encodeOption(Option.exportName))
    await client.take(10)
    client.request({ command: Command.blockStatus, length: 512 })
    expect(await client.simpleReply()).toMatchObject({ error: 22 })
  })

  test.each([
    ['ENOSPC', 28],
    ['EPERM', 1],
    ['ENOTSUP', 95],
    ['ESHUTDOWN', 108],
    ['EIO', 5],
  ] as const)('a disk that fails with %s is reported as %i, with its words', async (errno, error) => {
    const disk = new MemoryDisk()
    disk.hits = false
    disk.hook = () => {
      throw new DiskError(errno, 'the origin is on strike')
    }
    const client = await open(disk)
    for (const command of [Command.read, Command.flush, Command.blockStatus]) {
      client.request({ command, length: command === Command.flush ? 0 : 512 })
      expect(await errorOf(client)).toEqual({ error, message: 'the origin is on strike' })
    }
  })

  test('a disk that throws what it should not is reported as EIO', async () => {
    const disk = new MemoryDisk()
    disk.hook = () => {
      throw new TypeError('oops')
    }
    const client = await open(disk)
    client.request({ command: Command.flush })
    expect(await errorOf(client)).toMatchObject({ error: 5 })
  })

  test('32 MiB in one request, both ways', async () => {
    const disk = new MemoryDisk({ sizeBytes: 32 * MIB })
    const client = await open(disk)
    const data = Buffer.alloc(32 * MIB)
    for (let at = 0; at < data.length; at += 4096) data.writeUInt32LE(at, at)
    client.request({ command: Command.write, length: data.length }, data)
    expect(await client.simpleReply()).toMatchObject({ error: 0 })
    for (const hits of [true, false]) {
      disk.hits = hits
      client.request({ command: Command.read, length: data.length })
      expect((await client.chunk()).payload.subarray(8).equals(data)).toBe(true)
    }
  })

  test('requests are answered in the order in which the disk ends them', async () => {
    const disk = new MemoryDisk().fill()
    const gate = new Gate()
    disk.hook = ({ kind }) => (kind === 'flush' ? gate.hook() : undefined)
    const client = await open(disk)
    client.request({ command: Command.flush, cookie: 1 })
    client.request({ command: Command.read, cookie: 2, length: 512 })
    expect(await client.chunk()).toMatchObject({ cookie: 2 })
    gate.open()
    expect(await client.simpleReply()).toMatchObject({ cookie: 1 })
  })

  test('requests cut at every byte are understood', async () => {
    const disk = new MemoryDisk().fill()
    const client = await open(disk)
    const bytes = Buffer.concat([
      requestBytes({ command: Command.write, cookie: 1, length: 512 }),
      Buffer.alloc(512, 7),
      requestBytes({ command: Command.read, cookie: 2, length: 512 }),
    ])
    client.socket.setNoDelay()
    for (let at = 0; at < bytes.length; at += 5) {
      client.send(bytes.subarray(at, at + 5))
      await new Promise(setImmediate)
    }
    expect(await client.simpleReply()).toMatchObject({ cookie: 1, error: 0 })
    expect((await client.chunk()).payload.subarray(8).equals(Buffer.alloc(512, 7))).toBe(true)
  })
})

describe('clients that misbehave', () => {
  test('garbage ends its own connection, in the handshake and after it', async () => {
    const { socket, server } = await serving.serve(new MemoryDisk())
    const honest = await serving.connect(socket)
    await honest.negotiate()
    const early = await serving.connect(socket)
    early.send(Buffer.alloc(1000, 0x41))
    await early.closed
    const late = await serving.connect(socket)
    await late.negotiate()
    late.send(Buffer.alloc(1000, 0x41))
    await late.closed
    honest.request({ command: Command.flush })
    expect(await honest.simpleReply()).toMatchObject({ error: 0 })
    expect(server.connections).toBe(1)
  })

  test('a handshake has its time', async () => {
    const { socket } = await serving.serve(new MemoryDisk(), { limits: { handshakeMilliseconds: 50 } })
    const slow = await serving.connect(socket)
    const quick = await serving.connect(socket)
    await quick.negotiate()
    await slow.closed
    quick.request({ command: Command.flush })
    expect(await quick.simpleReply()).toMatchObject({ error: 0 })
  })

  test('more connections than allowed are turned away', async () => {
    const { socket } = await serving.serve(new MemoryDisk(), { limits: { connections: 2 } })
    const first = await serving.connect(socket)
    await first.negotiate()
    await (await serving.connect(socket)).negotiate()
    await (
      await serving.connect(socket)
    ).closed
    first.destroy()
    await until('a free place', async () => {
      const client = await serving.connect(socket)
      return client.negotiate().then(
        () => true,
        () => false,
      )
    })
  })

  test('a client that does not read the replies to its options is not heard any more', async () => {
    const { socket } = await serving.serve(new MemoryDisk({ name: 'x'.repeat(4000) }))
    const client = await serving.connect(socket)
    client.socket.pause()
    const before = process.memoryUsage().arrayBuffers
    client.send(Buffer.from([0, 0, 0, 3]), ...Array.from({ length: 50_000 }, () => encodeOption(Option.list)))
    const sent = client.socket.writableLength
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(client.socket.writableLength).toBe(sent)
    // 50,000 answers would be 200 MB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50 * MIB)
  })

  test('a client that does not read its data is not served beyond its limit, and goes on when it reads', async () => {
    const disk = new MemoryDisk().fill()
    const { socket } = await serving.serve(disk, { limits: { bytesInFlight: 4 * MIB } })
    const lazy = await serving.connect(socket)
    await lazy.negotiate()
    lazy.socket.pause()
    let served = 0
    const tryRead = disk.tryRead.bind(disk)
    disk.tryRead = (...args) => {
      served++
      return tryRead(...args)
    }
    for (let cookie = 1; cookie <= 100; cookie++) lazy.request({ command: Command.read, cookie, length: MIB })
    await until('the limit', () => served >= 3)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(served).toBeLessThanOrEqual(6)

    const other = await serving.connect(socket)
    await other.negotiate()
    other.request({ command: Command.read, length: 4096 })
    expect((await other.chunk()).type).toBe(ChunkType.offsetData)

    lazy.socket.resume()
    for (let cookie = 1; cookie <= 100; cookie++) expect(await lazy.chunk()).toMatchObject({ cookie })
  })

  test('replies that the socket takes at once make room for the requests behind them', async () => {
    const { socket } = await serving.serve(new MemoryDisk().fill(), { limits: { bytesInFlight: 8192 } })
    const client = await serving.connect(socket)
    await client.negotiate()
    client.socket.cork()
    for (let cookie = 1; cookie <= 200; cookie++) client.request({ command: Command.read, cookie, length: 4096 })
    client.socket.uncork()
    for (let cookie = 1; cookie <= 200; cookie++) expect(await client.chunk()).toMatchObject({ cookie })
  })

  test('requests in flight are limited, and all are served in the end', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = gate.hook
    const { socket } = await serving.serve(disk, { limits: { requestsInFlight: 10 } })
    const client = await serving.connect(socket)
    await client.negotiate()
    for (let cookie = 1; cookie <= 1000; cookie++) client.request({ command: Command.flush, cookie })
    await until('the limit', () => gate.waiting === 10)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(disk.calls).toHaveLength(10)
    gate.open()
    const cookies = new Set<number>()
    for (let count = 0; count < 1000; count++) cookies.add((await client.simpleReply()).cookie)
    expect(cookies.size).toBe(1000)
  })

  test('payloads of writes count against the limit of their connection', async () => {
    const disk = new MemoryDisk({ sizeBytes: 4 * MIB })
    const gate = new Gate()
    disk.hook = gate.hook
    const { socket } = await serving.serve(disk, { limits: { bytesInFlight: 4 * MIB } })
    const client = await serving.connect(socket)
    await client.negotiate()
    const data = Buffer.alloc(MIB)
    for (let cookie = 1; cookie <= 20; cookie++) client.request({ command: Command.write, cookie, length: MIB }, data)
    await until('the limit', () => gate.waiting >= 3)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(gate.waiting).toBeLessThanOrEqual(4)
    gate.open()
    for (let count = 0; count < 20; count++) expect(await client.simpleReply()).toMatchObject({ error: 0 })
  })
})

describe('the end of a connection', () => {
  test('a connection closes at once when its client has been answered', async () => {
    const client = await open(new MemoryDisk().fill())
    client.socket.cork()
    client.request({ command: Command.read, cookie: 1, length: 4096 })
    client.request({ command: Command.disconnect })
    client.socket.uncork()
    expect(await client.chunk()).toMatchObject({ cookie: 1 })
    const begun = performance.now()
    await client.closed
    expect(performance.now() - begun).toBeLessThan(DEFAULT_NBD_SERVER_LIMITS.closeMilliseconds / 2)
  })

  test('what was asked before DISC is answered, then the connection closes', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = gate.hook
    const client = await open(disk)
    client.request({ command: Command.flush, cookie: 1 })
    client.request({ command: Command.disconnect })
    client.request({ command: Command.flush, cookie: 2 })
    await until('the flush', () => gate.waiting === 1)
    gate.open()
    expect(await client.simpleReply()).toMatchObject({ cookie: 1 })
    await client.closed
    expect(disk.calls).toHaveLength(1)
  })

  test('requests of a connection that died end before a new one of the disk is served', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = ({ kind }) => (kind === 'write' ? gate.hook() : undefined)
    const { socket } = await serving.serve(disk)
    const dead = await serving.connect(socket)
    await dead.negotiate()
    dead.request({ command: Command.write, offset: 0, length: 512 }, Buffer.alloc(512, 1))
    await until('the write', () => gate.waiting === 1)
    dead.destroy()

    const heir = await serving.connect(socket)
    await heir.negotiate()
    heir.request({ command: Command.read, cookie: 9, length: 512 })
    await new Promise((resolve) => setTimeout(resolve, 100))
    const early = heir.socket.bytesRead
    gate.open()
    const chunk = await heir.chunk()
    expect(chunk.payload.subarray(8).equals(Buffer.alloc(512, 1))).toBe(true)
    expect(heir.socket.bytesRead).toBeGreaterThan(early)
  })

  test('so do those that it left unread in its socket', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = ({ kind }) => (kind === 'write' ? gate.hook() : undefined)
    const { socket } = await serving.serve(disk, { limits: { requestsInFlight: 1 } })
    const dead = await serving.connect(socket)
    await dead.negotiate()
    dead.request({ command: Command.write, length: 512 }, Buffer.alloc(512, 1))
    for (let count = 0; count < 50; count++) {
      dead.request({ command: Command.write, length: 512 }, Buffer.alloc(512, 2))
    }
    await until('the write', () => gate.waiting === 1)
    dead.destroy()
    await dead.closed

    const heir = await serving.connect(socket)
    await heir.negotiate()
    heir.request({ command: Command.write, cookie: 9, length: 512 }, Buffer.alloc(512, 3))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(disk.calls).toHaveLength(1)
    gate.open()
    expect(await heir.simpleReply()).toMatchObject({ cookie: 9, error: 0 })
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(disk.bytes.subarray(0, 512).equals(Buffer.alloc(512, 3))).toBe(true)
  })

  test('connections that live do not wait for each other', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = ({ kind }) => (kind === 'flush' ? gate.hook() : undefined)
    const { socket } = await serving.serve(disk, { limits: { requestsInFlight: 2 } })
    const busy = await serving.connect(socket)
    await busy.negotiate()
    for (let count = 0; count < 10; count++) busy.request({ command: Command.flush })
    await until('the flushes', () => gate.waiting === 2)
    const other = await serving.connect(socket)
    await other.negotiate()
    other.request({ command: Command.read, length: 512 })
    expect((await other.chunk()).type).toBe(ChunkType.offsetData)
    gate.open()
  })

  test('a held connection that dies does not hold its heir for ever', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = gate.hook
    const { socket, server } = await serving.serve(disk)
    for (let count = 0; count < 3; count++) {
      const client = await serving.connect(socket)
      await client.negotiate()
      client.request({ command: Command.write, length: 512 }, Buffer.alloc(512, count))
      if (count === 0) await until('the write', () => gate.waiting === 1)
      client.destroy()
      await client.closed
    }
    const heir = await serving.connect(socket)
    await heir.negotiate()
    heir.request({ command: Command.read, length: 512 })
    gate.open()
    expect((await heir.chunk()).type).toBe(ChunkType.offsetData)
    expect(server.connections).toBe(1)
  })
})

describe('close', () => {
  test('lets requests in flight end and be answered, then closes every connection', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = gate.hook
    const { socket, server } = await serving.serve(disk)
    const busy = await serving.connect(socket)
    await busy.negotiate()
    const idle = await serving.connect(socket)
    await idle.negotiate()
    const shaking = await serving.connect(socket)
    busy.request({ command: Command.flush, cookie: 1 })
    await until('the flush', () => gate.waiting === 1)
    let closed = false
    const closing = serving.close(server).then(() => (closed = true))
    await Promise.all([idle.closed, shaking.closed])
    busy.request({ command: Command.flush, cookie: 2 })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(closed).toBe(false)
    gate.open()
    expect(await busy.simpleReply()).toMatchObject({ cookie: 1 })
    await busy.closed
    await closing
    expect(disk.calls).toHaveLength(1)
  })

  test('waits for a slow disk, however long', async () => {
    const disk = new MemoryDisk()
    const gate = new Gate()
    disk.hook = gate.hook
    const { socket, server } = await serving.serve(disk, { limits: { closeMilliseconds: 20 } })
    const client = await serving.connect(socket)
    await client.negotiate()
    client.request({ command: Command.flush, cookie: 1 })
    await until('the flush', () => gate.waiting === 1)
    const closing = serving.close(server)
    await new Promise((resolve) => setTimeout(resolve, 100))
    gate.open()
    expect(await client.simpleReply()).toMatchObject({ cookie: 1, error: 0 })
    await closing
  })

  test('leaves the socket to its owner: the next server takes up who connected meanwhile', async () => {
    const path = join(await serving.directory(), 'shared.sock')
    const descriptor = listenUnix(path, { backlog: 8 })
    const [here, there] = socketPair()
    sendDescriptor(here, descriptor, Buffer.from('x'))
    const duplicate = receiveDescriptor(there)!.descriptor!
    closeSync(here)
    closeSync(there)

    const first = new NbdServer({ listenDescriptor: descriptor, exports: singleExport(new MemoryDisk()) })
    first.start()
    await (await serving.connect(path)).negotiate()
    await first.close()
    expect(existsSync(path)).toBe(true)

    const between = await serving.connect(path)
    const second = new NbdServer({ listenDescriptor: duplicate, exports: singleExport(new MemoryDisk()) })
    second.start()
    await between.negotiate()
    await second.close()
  })

  test('does not wait for a client that does not read', async () => {
    const { socket, server } = await serving.serve(new MemoryDisk(), { limits: { closeMilliseconds: 50 } })
    const lazy = await serving.connect(socket)
    await lazy.negotiate()
    lazy.socket.pause()
    for (let count = 0; count < 10; count++) lazy.request({ command: Command.read, length: MIB })
    await new Promise((resolve) => setTimeout(resolve, 50))
    await serving.close(server)
  })
})

describe('connections that are served elsewhere', () => {
  let ended = 0
  const elsewhere = (): NbdServer => {
    const disk = new MemoryDisk().fill()
    return new NbdServer({ listenDescriptor: null, exports: singleExport(disk), onEnded: () => ended++ })
  }

  test('every second one', async () => {
    const path = join(await serving.directory(), 'spread.sock')
    ended = 0
    const second = elsewhere()
    second.start()
    let count = 0
    const first = new NbdServer({
      listenDescriptor: listenUnix(path, { backlog: 8 }),
      exports: singleExport(new MemoryDisk().fill()),
      elsewhere: () => (count++ % 2 === 0 ? undefined : (descriptor) => second.serve(descriptor)),
    })
    first.start()
    const clients = await Promise.all(Array.from({ length: 6 }, () => connectSimpleNbd(path)))
    expect([first.connections, second.connections]).toEqual([3, 3])
    const expected = await clients[0]!.read(0, MIB)
    for (const client of clients) expect((await client.read(0, MIB)).equals(expected)).toBe(true)
    for (const client of clients) await client.close()
    await until('the end of all connections', () => first.connections + second.connections === 0)
    expect(ended).toBe(3)

    const last = [await connectSimpleNbd(path), await connectSimpleNbd(path)]
    await Promise.all([first.close(), second.close()])
    await Promise.all(last.map(({ closed }) => closed))
  })

  test('one that comes to a server that is closing is closed, and said to have ended', async () => {
    const path = join(await serving.directory(), 'late.sock')
    ended = 0
    const second = elsewhere()
    second.start()
    await second.close()
    const first = new NbdServer({
      listenDescriptor: listenUnix(path, { backlog: 8 }),
      exports: singleExport(new MemoryDisk()),
      elsewhere: () => (descriptor) => second.serve(descriptor),
    })
    first.start()
    await (
      await serving.connect(path)
    ).closed
    expect(ended).toBe(1)
    await first.close()
  })
})
