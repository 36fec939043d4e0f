import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { DiskError } from '../../../../src/engine/disk/served-disk.js'
import { openNbdOrigin, type NbdOrigin, type NbdOriginOptions } from '../../../../src/engine/origin/nbd-origin.js'
import { OriginError } from '../../../../src/engine/origin/origin.js'
import { Option, OptionReply } from '../../../../src/protocol/nbd/constants.js'
import { encodeBlockSizeInfo, encodeExportInfo } from '../../../../src/protocol/nbd/export-information.js'
import { encodeOptionError, encodeOptionReply } from '../../../../src/protocol/nbd/option.js'
import { encodeSimpleReply } from '../../../../src/protocol/nbd/reply.js'
import { MemoryDisk } from '../../../support/memory-disk.js'
import { NbdServing } from '../../../support/nbd-serving.js'
import { until } from '../../../support/processes.js'

const MIB = 1024 * 1024
const serving = new NbdServing()
const origins: NbdOrigin[] = []
const servers: Server[] = []
const sockets = new Set<Socket>()

afterEach(async () => {
  await Promise.all(origins.splice(0).map((origin) => origin.close(1000)))
  for (const socket of sockets) socket.destroy()
  for (const server of servers.splice(0)) server.close()
  await serving.closeAll()
})

async function open(uri: string, options: Partial<NbdOriginOptions> = {}): Promise<NbdOrigin> {
  const origin = await openNbdOrigin(uri, { readOnly: false, ...options })
  origins.push(origin)
  return origin
}

const codeOf = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: { code?: unknown }) => error.code,
  )

describe('against our own server', () => {
  test('tells what the export is and can', async () => {
    const { uri } = await serving.serve(new MemoryDisk({ minimumBlockBytes: 4096 }))
    const origin = await open(uri)
    expect(origin.description).toEqual({
      kind: 'nbd',
      uri,
      sizeBytes: MIB,
      logicalBlockBytes: 4096,
      readOnly: false,
      canTrim: true,
      canZero: true,
    })
    const poor = await serving.serve(new MemoryDisk({ canTrim: false, canZero: false }))
    expect((await open(poor.uri)).description).toMatchObject({
      canTrim: false,
      canZero: false,
      logicalBlockBytes: 512,
    })
  })

  test('reads, writes, zeroes, trims, flushes', async () => {
    const disk = new MemoryDisk().fill()
    const { uri } = await serving.serve(disk)
    const origin = await open(uri)
    for (const length of [512, 4096, 16384, 16896, 300_032]) {
      const data = Buffer.alloc(length, length & 0xff)
      await origin.write(8192, data)
      expect(disk.bytes.subarray(8192, 8192 + length).equals(data)).toBe(true)
      const target = Buffer.alloc(length)
      await origin.read(8192, target)
      expect(target.equals(data)).toBe(true)
    }
    await origin.zero(0, 4096, { mayTrim: false, fast: false })
    await origin.zero(4096, 4096, { mayTrim: true, fast: true })
    expect(disk.bytes.subarray(0, 8192).equals(Buffer.alloc(8192))).toBe(true)
    await expect(origin.zero(0, 4096, { mayTrim: false, fast: true })).rejects.toMatchObject({ errno: 'ENOTSUP' })
    await origin.trim(0, MIB)
    await origin.flush()
    expect(disk.calls.at(-1)).toMatchObject({ kind: 'flush' })
    expect(await origin.allocation(0, MIB)).toEqual([{ length: MIB, hole: true, zero: true }])
    await origin.write(4096, Buffer.alloc(4096))
    expect(await origin.allocation(0, 16384)).toEqual([
      { length: 4096, hole: true, zero: true },
      { length: 4096, hole: false, zero: false },
      { length: 8192, hole: true, zero: true },
    ])
  })

  test('keeps many requests in flight', async () => {
    const disk = new MemoryDisk().fill()
    const waiting: (() => void)[] = []
    disk.hits = false
    disk.hook = () => new Promise((resolve) => waiting.push(resolve))
    const { uri } = await serving.serve(disk)
    const origin = await open(uri)
    const targets = Array.from({ length: 64 }, () => Buffer.alloc(4096))
    const reads = targets.map((target, index) => origin.read(index * 4096, target))
    await until('64 reads', () => waiting.length === 64)
    for (const go of waiting.reverse()) go()
    await Promise.all(reads)
    targets.forEach((target, index) => {
      expect(target.equals(disk.bytes.subarray(index * 4096, (index + 1) * 4096))).toBe(true)
    })
  })

  test('writes zeroes where the server cannot, and takes a trim for a hint', async () => {
    const disk = new MemoryDisk({ sizeBytes: 4 * MIB, canTrim: false, canZero: false }).fill()
    const { uri } = await serving.serve(disk)
    const origin = await open(uri)
    await origin.zero(512, 3 * MIB, { mayTrim: true, fast: false })
    expect(disk.bytes.subarray(512, 3 * MIB + 512).equals(Buffer.alloc(3 * MIB))).toBe(true)
    await expect(origin.zero(0, 512, { mayTrim: true, fast: true })).rejects.toMatchObject({ errno: 'ENOTSUP' })
    const calls = disk.calls.length
    await origin.trim(0, MIB)
    expect(disk.calls).toHaveLength(calls)
  })

  test.each(['EIO', 'ENOSPC', 'EPERM', 'ENOTSUP', 'EINVAL'] as const)('passes %s on', async (errno) => {
    const disk = new MemoryDisk()
    disk.hits = false
    disk.hook = () => {
      throw new DiskError(errno, 'the reason')
    }
    const { uri } = await serving.serve(disk)
    const origin = await open(uri)
    const failure = origin.read(0, Buffer.alloc(512))
    await expect(failure).rejects.toBeInstanceOf(OriginError)
    await expect(failure).rejects.toMatchObject({ errno, message: expect.stringContaining('the reason') })
    await expect(origin.write(0, Buffer.alloc(512))).rejects.toMatchObject({ errno })
    expect(origin.session).toBe(1)
  })

  test('a flush that fails ends the session', async () => {
    const disk = new MemoryDisk()
    const { uri } = await serving.serve(disk)
    const origin = await open(uri)
    disk.hook = () => {
      throw new DiskError('EIO', 'lost')
    }
    await expect(origin.flush()).rejects.toBeInstanceOf(OriginError)
    expect(origin.session).toBe(2)
    disk.hook = () => {}
    await origin.flush()
    expect(origin.session).toBe(2)
  })

  test('a read-only export', async () => {
    const { uri } = await serving.serve(new MemoryDisk({ readOnly: true }))
    expect(await codeOf(open(uri))).toBe('DENIED')
    const origin = await open(uri, { readOnly: true })
    expect(origin.description.readOnly).toBe(true)
    await expect(origin.write(0, Buffer.alloc(512))).rejects.toMatchObject({ errno: 'EPERM' })
    await expect(origin.trim(0, 512)).rejects.toMatchObject({ errno: 'EPERM' })
    await expect(origin.zero(0, 512, { mayTrim: true, fast: false })).rejects.toMatchObject({ errno: 'EPERM' })
    await origin.read(0, Buffer.alloc(512))
  })

  test('after close nothing is taken', async () => {
    const { uri } = await serving.serve(new MemoryDisk())
    const origin = await open(uri)
    await origin.close(1000)
    await expect(origin.read(0, Buffer.alloc(512))).rejects.toMatchObject({ errno: 'ESHUTDOWN' })
  })

  test('close waits for calls in flight, but not for ever', async () => {
    const disk = new MemoryDisk()
    let letGo = (): void => {}
    disk.hook = () => new Promise((resolve) => (letGo = resolve))
    const { uri } = await serving.serve(disk)
    const quick = await open(uri)
    const flush = quick.flush()
    await until('the flush', () => disk.calls.length === 1)
    const closing = quick.close(10_000)
    letGo()
    await flush
    await closing
    const hung = await open(uri)
    const lost = expect(hung.flush()).rejects.toMatchObject({ errno: 'EIO' })
    await until('the second flush', () => disk.calls.length === 2)
    await hung.close(50)
    letGo()
    await lost.catch(() => {})
  })
})

describe('what cannot be opened', () => {
  test('nobody listens', async () => {
    const path = join(await serving.directory(), 'nobody.sock')
    expect(await codeOf(open(`nbd+unix:///?socket=${path}`))).toBe('ORIGIN_NOT_FOUND')
    expect(await codeOf(open('nbd://127.0.0.1:1/'))).toBe('ORIGIN_NOT_FOUND')
  })

  test('an unknown export', async () => {
    const { socket } = await serving.serve(new MemoryDisk())
    expect(await codeOf(open(`nbd+unix:///nobody?socket=${socket}`))).toBe('ORIGIN_NOT_FOUND')
  })

  test('a size that is none of a disk', async () => {
    const { uri } = await serving.serve(new MemoryDisk({ sizeBytes: 1000 }))
    expect(await codeOf(open(uri))).toBe('ORIGIN_SIZE')
  })

  test('what is no NBD server, hangs up, or says nothing', async () => {
    const talking = await fakeServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2 and more bytes\r\n'))
    expect(await codeOf(open(talking))).toBe('ORIGIN_FAILED')
    const closing = await fakeServer((socket) => socket.end())
    expect(await codeOf(open(closing))).toBe('ORIGIN_FAILED')
    const silent = await fakeServer(() => {})
    expect(await codeOf(open(silent, { handshakeMilliseconds: 50 }))).toBe('ORIGIN_FAILED')
  })
})

describe('a server that goes away', () => {
  test('reads and writes are sent again on the next connection; the session rises', async () => {
    const disk = new MemoryDisk().fill()
    const held: (() => void)[] = []
    disk.hits = false
    disk.hook = () => new Promise((resolve) => held.push(resolve))
    const line = await lineTo((await serving.serve(disk)).socket)
    const origin = await open(line.uri)
    const target = Buffer.alloc(4096)
    const calls = [
      origin.read(0, target),
      origin.write(4096, Buffer.alloc(4096, 9)),
      origin.zero(8192, 4096, { mayTrim: true, fast: false }),
      origin.trim(12288, 4096),
    ]
    await until('the calls', () => disk.calls.length === 4)
    line.cut()
    await until('the loss', () => origin.session === 2)
    calls.push(origin.read(0, Buffer.alloc(512)))
    disk.hook = () => {}
    for (const go of held) go()
    await Promise.all(calls)
    expect(target.equals(disk.bytes.subarray(0, 4096))).toBe(true)
    expect(disk.bytes.subarray(4096, 8192).equals(Buffer.alloc(4096, 9))).toBe(true)
    expect(disk.calls).toHaveLength(9)
    await origin.flush()
    expect(origin.session).toBe(2)
  })

  test('a flush in flight fails, and none is sent again', async () => {
    const disk = new MemoryDisk()
    let letGo = (): void => {}
    disk.hook = () => new Promise((resolve) => (letGo = resolve))
    const line = await lineTo((await serving.serve(disk)).socket)
    const origin = await open(line.uri)
    const flush = expect(origin.flush()).rejects.toThrow('lost in a flush')
    await until('the flush', () => disk.calls.length === 1)
    line.cut()
    await flush
    expect(origin.session).toBe(2)
    letGo()
    disk.hook = () => {}
    await origin.read(0, Buffer.alloc(512))
    expect(disk.calls.filter(({ kind }) => kind === 'flush')).toHaveLength(1)
  })

  test('what waits too long fails with EIO; later calls succeed when it is back', async () => {
    const disk = new MemoryDisk().fill()
    const { server, socket, uri } = await serving.serve(disk)
    const origin = await open(uri, { reconnectMilliseconds: 150 })
    await serving.close(server)
    const failure = origin.read(0, Buffer.alloc(512))
    await expect(failure).rejects.toMatchObject({ errno: 'EIO', message: expect.stringContaining('no connection') })
    await serving.serve(disk, { socket })
    await until('the server', () =>
      origin.read(0, Buffer.alloc(512)).then(
        () => true,
        () => false,
      ),
    )
  })

  test('one that comes back with another size is never written', async () => {
    const { server, socket, uri } = await serving.serve(new MemoryDisk())
    const origin = await open(uri)
    await serving.close(server)
    const write = origin.write(0, Buffer.alloc(512, 1))
    const other = new MemoryDisk({ sizeBytes: 2 * MIB })
    const second = await serving.serve(other, { socket })
    await expect(write).rejects.toMatchObject({
      message: expect.stringContaining('size changed from 1048576 to 2097152'),
    })
    expect(other.calls).toEqual([])
    await serving.close(second.server)
    await serving.serve(new MemoryDisk().fill(), { socket })
    await origin.write(0, Buffer.alloc(512))
  })

  test.each([
    ['read-only', { readOnly: true }],
    ['with larger blocks', { minimumBlockBytes: 4096 }],
    ['without trim', { canTrim: false }],
  ])('nor one that comes back %s', async (_, options) => {
    const { server, socket, uri } = await serving.serve(new MemoryDisk())
    const origin = await open(uri)
    await serving.close(server)
    const write = expect(origin.write(0, Buffer.alloc(512, 1))).rejects.toBeInstanceOf(OriginError)
    const other = new MemoryDisk(options)
    await serving.serve(other, { socket })
    await write
    expect(other.calls).toEqual([])
  })
})

/** Serves connections by hand; returns the URI. */
async function fakeServer(handle: (socket: Socket) => void): Promise<string> {
  const path = join(await serving.directory(), `fake${servers.length}-${sockets.size}.sock`)
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    handle(socket)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return `nbd+unix:///?socket=${path}`
}

/** A way to a socket that can be cut, and used again at once. */
async function lineTo(path: string): Promise<{ uri: string; cut: () => void }> {
  const ends = new Set<Socket>()
  const uri = await fakeServer((near) => {
    const far = connect(path)
    far.on('error', () => {})
    near.pipe(far)
    far.pipe(near)
    ends.add(near).add(far)
  })
  const cut = (): void => {
    for (const end of ends) end.destroy()
    ends.clear()
  }
  return { uri, cut }
}

describe('a server of little ability', () => {
  interface Seen {
    command: number
    offset: number
    length: number
  }

  /** Simple replies only, requests of at most 64 KiB; `reply` answers a request (28 bytes and payload). */
  function simpleServer(reply: (socket: Socket, seen: Seen, cookie: number) => void): Promise<string> {
    return fakeServer((socket) => {
      let buffered = Buffer.alloc(0)
      let phase: 'flags' | 'options' | 'requests' = 'flags'
      socket.write(Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1'))
      socket.on('data', (bytes) => {
        buffered = Buffer.concat([buffered, bytes])
        for (;;) {
          if (phase === 'flags' && buffered.length >= 4) {
            buffered = buffered.subarray(4)
            phase = 'options'
          } else if (
            phase === 'options' &&
            buffered.length >= 16 &&
            buffered.length >= 16 + buffered.readUInt32BE(12)
          ) {
            const option = buffered.readUInt32BE(8)
            buffered = buffered.subarray(16 + buffered.readUInt32BE(12))
            if (option !== Option.go) {
              socket.write(encodeOptionError(option, OptionReply.errorUnsupported, ''))
              continue
            }
            socket.write(encodeOptionReply(option, OptionReply.info, encodeExportInfo(MIB, 0x65)))
            const sizes = encodeBlockSizeInfo({ minimum: 1, preferred: 4096, maximum: 65536 })
            socket.write(encodeOptionReply(option, OptionReply.info, sizes))
            socket.write(encodeOptionReply(option, OptionReply.ack))
            phase = 'requests'
          } else if (phase === 'requests' && buffered.length >= 28) {
            const command = buffered.readUInt16BE(6)
            const [offset, length] = [buffered.readUInt32BE(20), buffered.readUInt32BE(24)]
            const total = 28 + (command === 1 ? length : 0)
            if (buffered.length < total) return
            const cookie = buffered.readUInt32BE(12)
            buffered = buffered.subarray(total)
            reply(socket, { command, offset, length }, cookie)
          } else return
        }
      })
    })
  }

  const answer = (socket: Socket, cookie: number, error: number, data: Buffer = Buffer.alloc(0)): void => {
    const header = Buffer.alloc(16)
    encodeSimpleReply(header, 0, error, 0, cookie)
    socket.write(Buffer.concat([header, data]))
  }

  test('is asked for no more at a time than it takes', async () => {
    const seen: Seen[] = []
    const uri = await simpleServer((socket, request, cookie) => {
      seen.push(request)
      answer(socket, cookie, 0, request.command === 0 ? Buffer.alloc(request.length, request.offset >> 16) : undefined)
    })
    const origin = await open(uri)
    expect(origin.description).toMatchObject({ canTrim: true, canZero: true, sizeBytes: MIB })
    const target = Buffer.alloc(200_192)
    await origin.read(0, target)
    expect(seen.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 65536],
      [65536, 65536],
      [131072, 65536],
      [196608, 3584],
    ])
    expect([...new Set(target)]).toEqual([0, 1, 2, 3])
    await origin.write(0, Buffer.alloc(131072))
    await origin.zero(0, MIB, { mayTrim: false, fast: false })
    expect(seen.slice(4)).toEqual([
      { command: 1, offset: 0, length: 65536 },
      { command: 1, offset: 65536, length: 65536 },
      { command: 6, offset: 0, length: MIB },
    ])
    expect(await origin.allocation(0, MIB)).toEqual([{ length: MIB, hole: false, zero: false }])
  })

  test('one that breaks the protocol is left, and what it did not answer fails in the end', async () => {
    let connections = 0
    const uri = await simpleServer((socket, _, cookie) => {
      connections++
      answer(socket, cookie + 1, 0)
    })
    const origin = await open(uri, { reconnectMilliseconds: 400 })
    await expect(origin.read(0, Buffer.alloc(512))).rejects.toMatchObject({ errno: 'EIO' })
    // At once, then after 0.1, 0.2, 0.4 s: a server that is broken is not asked a thousand times.
    expect(connections).toBeLessThan(6)
  })

  test('an error in the middle of a long read is its error', async () => {
    const uri = await simpleServer((socket, request, cookie) => {
      if (request.offset === 65536) answer(socket, cookie, 5)
      else answer(socket, cookie, 0, Buffer.alloc(request.length))
    })
    const origin = await open(uri)
    await expect(origin.read(0, Buffer.alloc(262144))).rejects.toMatchObject({ errno: 'EIO' })
  })
})
