/** The NBD origin with the servers that people use: nbdkit and its filters, qemu-nbd; killed and started again. */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openNbdOrigin, type NbdOrigin, type NbdOriginOptions } from '../../src/engine/origin/nbd-origin.js'
import { OriginError } from '../../src/engine/origin/origin.js'
import { describeWith } from '../support/packages.js'
import { must, Processes, until } from '../support/processes.js'

const MIB = 1024 * 1024
const processes = new Processes()
const origins: NbdOrigin[] = []
let directory: string
let socket: string
let uri: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-nbd-'))
  socket = join(directory, 'nbd.sock')
  uri = `nbd+unix:///?socket=${socket}`
})
afterEach(async () => {
  await Promise.all(origins.splice(0).map((origin) => origin.close(1000)))
  await processes.stopAll()
  await rm(directory, { recursive: true })
})

async function open(options: Partial<NbdOriginOptions> = {}, text = uri): Promise<NbdOrigin> {
  const origin = await openNbdOrigin(text, { readOnly: false, ...options })
  origins.push(origin)
  return origin
}

/** A socket file is there before anybody listens on it. */
function isListening(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket)
    probe.once('error', () => resolve(false))
    probe.once('connect', () => resolve(true)).once('connect', () => probe.destroy())
  })
}

/** nbdkit leaves its socket behind when it is killed, and does not start over it. */
async function nbdkit(...args: string[]): Promise<ChildProcess> {
  await rm(socket, { force: true })
  const child = processes.start('nbdkit', ['-f', '-U', socket, ...args])
  await until('nbdkit', isListening)
  return child
}

/** Writes, reads back and compares `count` blocks, 32 at a time. */
async function exercise(origin: NbdOrigin, count = 512, length = 16384): Promise<Buffer> {
  const content = randomBytes(count * length)
  const slots = Math.floor(origin.description.sizeBytes / length)
  const place = (index: number): number => ((index * 37) % slots) * length
  const piece = (index: number): Buffer => content.subarray(index * length, (index + 1) * length)
  const inParallel = async (work: (index: number) => Promise<void>): Promise<void> => {
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < count) await work(next++)
    }
    await Promise.all(Array.from({ length: 32 }, worker))
  }
  await inParallel((index) => origin.write(place(index), piece(index)))
  await origin.flush()
  await inParallel(async (index) => {
    const target = Buffer.alloc(length)
    await origin.read(place(index), target)
    expect(target.equals(piece(index)), `block ${index}`).toBe(true)
  })
  return content
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

describeWith(['nbdkit'], 'nbdkit', () => {
  test('memory: every call', async () => {
    await nbdkit('memory', '16M')
    const origin = await open()
    expect(origin.description).toMatchObject({
      sizeBytes: 16 * MIB,
      logicalBlockBytes: 512,
      canTrim: true,
      canZero: true,
    })
    expect(await origin.allocation(0, 16 * MIB)).toEqual([{ length: 16 * MIB, hole: true, zero: true }])
    await exercise(origin)
    const large = randomBytes(8 * MIB)
    await origin.write(MIB, large)
    const target = Buffer.alloc(8 * MIB)
    await origin.read(MIB, target)
    expect(target.equals(large)).toBe(true)
    await origin.zero(MIB, 4 * MIB, { mayTrim: false, fast: false })
    await origin.trim(5 * MIB, 4 * MIB)
    await origin.read(MIB, target)
    expect(target.equals(Buffer.alloc(8 * MIB))).toBe(true)
  })

  test('slow answers come out of order, and go where they belong', async () => {
    await nbdkit('--filter=delay', 'memory', '16M', 'rdelay=3ms', 'wdelay=2ms')
    await exercise(await open(), 256)
  })

  test('errors of the server are errors of the call, and only of it', async () => {
    const trigger = join(directory, 'fail')
    await nbdkit('--filter=error', 'memory', '16M', 'error=ENOSPC', 'error-rate=100%', `error-file=${trigger}`)
    const origin = await open()
    await origin.write(0, Buffer.alloc(4096, 1))
    await writeFile(trigger, '')
    await expect(origin.write(0, Buffer.alloc(4096, 2))).rejects.toMatchObject({ errno: 'ENOSPC' })
    await expect(origin.read(0, Buffer.alloc(4096))).rejects.toBeInstanceOf(OriginError)
    await rm(trigger)
    const target = Buffer.alloc(4096)
    await origin.read(0, target)
    expect(target.equals(Buffer.alloc(4096, 1))).toBe(true)
    expect(origin.session).toBe(1)
  })

  test('a server without structured replies, zeroes and block status', async () => {
    await nbdkit('--no-sr', '--filter=nozero', '--filter=noextents', 'memory', '16M')
    const origin = await open()
    expect(origin.description.canZero).toBe(false)
    await exercise(origin)
    await origin.zero(0, 3 * MIB, { mayTrim: true, fast: false })
    const target = Buffer.alloc(3 * MIB, 1)
    await origin.read(0, target)
    expect(target.equals(Buffer.alloc(3 * MIB))).toBe(true)
    expect(await origin.allocation(0, MIB)).toEqual([{ length: MIB, hole: false, zero: false }])
  })

  test('a server with block size constraints', async () => {
    const sizes = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=65536']
    await nbdkit('--filter=blocksize-policy', 'memory', '16M', ...sizes, 'blocksize-error-policy=error')
    const origin = await open()
    expect(origin.description.logicalBlockBytes).toBe(4096)
    await exercise(origin, 16, MIB)
  })

  test('a read-only server', async () => {
    await nbdkit('-r', 'memory', '16M')
    await expect(open()).rejects.toMatchObject({ code: 'DENIED' })
    await (await open({ readOnly: true })).read(0, Buffer.alloc(4096))
  })

  test('over TCP', async () => {
    const port = await freePort()
    processes.start('nbdkit', ['-f', '-i', '127.0.0.1', '-p', String(port), '-e', 'a/b', 'memory', '16M'])
    const text = `nbd://127.0.0.1:${port}/a/b`
    const origin = await until('nbdkit', () => open({}, text).catch(() => null))
    await exercise(origin)
  })

  test('killed and started again: writes are sent again, the session rises', async () => {
    const image = join(directory, 'image.raw')
    await writeFile(image, '')
    await truncate(image, 16 * MIB)
    let server = await nbdkit('file', image)
    const origin = await open()
    const expected = Buffer.alloc(16 * MIB)
    let writes = 0
    let ended = false
    const killing = (async (): Promise<void> => {
      for (let count = 0; count < 3; count++) {
        const before = writes
        await until('writes', () => writes > before + 100)
        await processes.stop(server)
        await new Promise((resolve) => setTimeout(resolve, 100))
        server = await nbdkit('file', image)
      }
      const before = writes
      await until('writes to go on', () => writes > before + 100)
    })()
    void killing.finally(() => (ended = true))
    const worker = async (lane: number): Promise<void> => {
      for (let round = 0; !ended; round++) {
        const offset = lane * 512 * 1024 + (round % 32) * 16384
        const data = Buffer.alloc(16384, randomBytes(8))
        data.copy(expected, offset)
        await origin.write(offset, data)
        writes++
      }
    }
    await Promise.all([killing, ...Array.from({ length: 32 }, (_, lane) => worker(lane))])
    expect(origin.session).toBe(4)
    await origin.flush()
    expect((await readFile(image)).equals(expected)).toBe(true)
  })

  test('one that comes back smaller is not written', async () => {
    const server = await nbdkit('memory', '16M')
    const origin = await open()
    await processes.stop(server)
    const write = expect(origin.write(0, Buffer.alloc(512))).rejects.toThrow('size changed from 16777216 to 8388608')
    await nbdkit('memory', '8M')
    await write
  })
})

describeWith(['qemu-nbd', 'qemu-img'], 'qemu-nbd', () => {
  test('a qcow2 image', async () => {
    const image = join(directory, 'image.qcow2')
    await must('qemu-img', ['create', '-q', '-f', 'qcow2', image, '16M'])
    const server = processes.start('qemu-nbd', ['-t', '-k', socket, '-f', 'qcow2', '-x', 'disk', '-e', '8', image])
    await until('qemu-nbd', isListening)
    const text = `nbd+unix:///disk?socket=${socket}`
    await expect(open({}, uri)).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND' })
    const origin = await open({}, text)
    expect(await origin.allocation(0, 16 * MIB)).toEqual([{ length: 16 * MIB, hole: true, zero: true }])
    const content = await exercise(origin, 64)
    await origin.zero(8 * MIB, MIB, { mayTrim: true, fast: false })
    await origin.trim(10 * MIB, MIB)
    await origin.flush()
    await origin.close(1000)
    await processes.stop(server, 'SIGTERM')
    const raw = join(directory, 'image.raw')
    await must('qemu-img', ['convert', '-O', 'raw', image, raw])
    expect((await readFile(raw)).subarray(0, 16384).equals(content.subarray(0, 16384))).toBe(true)
  })
})
