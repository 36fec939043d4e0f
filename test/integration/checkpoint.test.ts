/** Checkpoints in a cache whose disks are in use, and through the death of the engine's process; from dist/. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DiskSettings, Engine } from '../../src/engine/engine.js'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import { until } from '../support/processes.js'
import { overwrite } from './promises/host.js'
import { connectSimpleNbd, type SimpleNbdClient } from '../support/simple-nbd-client.js'

const MIB = 1024 * 1024
const PAGE = 4096
const ID = 'ab'.repeat(16)
const VM = '11111111-2222-3333-4444-555555555555'
const WATCH = { progress: () => undefined, signal: new AbortController().signal }

let directory: string
let ends: (() => Promise<unknown>)[]
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-checkpoint-'))
  ends = []
})
afterEach(async () => {
  for (const end of ends.reverse()) await end()
  await rm(directory, { recursive: true, force: true })
})

/** Where a module of src/ is when it is built. The engine and what starts it are of one build: native libraries are loaded once. */
function built(path: string): string {
  return pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', path)).href
}
const { openEngine } = (await import(built('engine/io-engine.js'))) as typeof import('../../src/engine/io-engine.js')
const { systemClock } = (await import(built('base/clock.js'))) as typeof import('../../src/base/clock.js')
const { createLogger } = (await import(built('base/logger.js'))) as typeof import('../../src/base/logger.js')
const { listenUnix } = (await import(built('base/system-calls.js'))) as typeof import('../../src/base/system-calls.js')

async function startEngine(): Promise<Engine> {
  const engine = await openEngine({
    ioThreads: 2,
    clock: systemClock,
    logger: createLogger({ level: 'error', part: 'test' }),
  })
  ends.push(() => engine.close({ drainMilliseconds: 1000 }))
  return engine
}

/** Creates and opens a cache of so many chunks of 1 MiB on each device. */
async function createCache(engine: Engine, ...chunks: number[]): Promise<string[]> {
  const devices = chunks.map((count, index) => ({ path: join(directory, `ssd${index}`), sizeBytes: (count + 1) * MIB }))
  const settings = { name: 'fast', blockBytes: 16384, chunkBytes: MIB, devices }
  await engine.createCache(settings, { force: false, dryRun: false, ...WATCH })
  const paths = devices.map(({ path }) => path)
  await engine.openCache({ name: 'fast', devices: paths }, { allowMissing: false })
  return paths
}

async function attach(engine: Engine, name: string, bytes: number): Promise<SimpleNbdClient> {
  const origin = join(directory, `${name}.raw`)
  await writeFile(origin, '')
  await truncate(origin, bytes)
  const socket = join(directory, `${name}.sock`)
  const settings: DiskSettings = {
    name,
    cache: 'fast',
    logId: Buffer.from(name.padEnd(16, '.')).toString('hex'),
    origin,
    mode: 'write-back',
    replacement: 's3-fifo',
    minBytes: 0,
    maxBytes: null,
    shares: 100,
    readOnly: false,
    blockBytes: 16384,
    epoch: 1,
    listenDescriptor: listenUnix(socket, { mode: 0o600, backlog: 16 }),
    socket,
    trustCleanPages: true,
    originIsWhole: true,
    withoutLog: null,
    imageFormatAllowed: true,
    writeBack: { ...DEFAULT_WRITE_BACK, dirtyAgeSeconds: 3600 },
  }
  await engine.attach(settings)
  const client = await connectSimpleNbd(socket)
  ends.push(() => client.close())
  return client
}

function pageOf(page: number, version: number): Buffer {
  const bytes = Buffer.alloc(PAGE, (page * 7 + version) & 0xff)
  bytes.writeUInt32LE(page, 0)
  bytes.writeUInt32LE(version, 4)
  return bytes
}

function streamOf(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at)
  return bytes
}

async function write(engine: Engine, stream: Buffer, bytes: number | null = stream.length): Promise<number> {
  const socket = join(directory, 'memory')
  const source = { id: ID, vm: VM, name: 'web01', attributes: '{"a":1}', bytes, socket }
  const ready = (): void =>
    void connect(socket)
      .on('error', () => undefined)
      .resume()
      .end(stream)
  return (await engine.writeCheckpoint({ cache: 'fast' }, source, { ...WATCH, ready })).storedBytes / MIB
}

async function read(engine: Engine): Promise<Buffer> {
  const socket = join(directory, 'memory')
  const parts: Buffer[] = []
  let closed: Promise<unknown> | undefined
  const ready = (): void => {
    closed = once(
      connect(socket).on('data', (part) => parts.push(part)),
      'close',
    )
  }
  await engine.readCheckpoint({ cache: 'fast' }, ID, socket, { ...WATCH, ready })
  await closed
  return Buffer.concat(parts)
}

test('logs make room for a checkpoint, dirty ones too, while their guests go on; deleted, they have it again', async () => {
  const engine = await startEngine()
  await createCache(engine, 30, 30)
  const clients = [await attach(engine, 'a', 64 * MIB), await attach(engine, 'b', 64 * MIB)]
  const versions = clients.map(() => new Map<number, number>())
  const pages = (24 * MIB) / PAGE
  const put = async (disk: number, page: number, version: number): Promise<void> => {
    await clients[disk]!.write(page * PAGE, pageOf(page, version))
    versions[disk]!.set(page, version)
  }
  for (const disk of [0, 1]) for (let page = 0; page < pages; page++) await put(disk, page, 1)
  const before = engine.caches()[0]!.chunks
  expect(before.disk).toBeGreaterThan(44)
  expect(await engine.reserve('fast', VM, 10 * MIB, { bestEffort: false })).toBe(10 * MIB)

  let isDone = false
  const guests = clients.map(async (client, disk) => {
    for (let count = 0; !isDone; count++) {
      const page = (count * 7919) % pages
      await put(disk, page, 2 + count)
      const other = (count * 104_729) % pages
      const seen = await client.read(other * PAGE, PAGE)
      if (!seen.equals(pageOf(other, versions[disk]!.get(other)!))) throw new Error(`page ${other} is wrong`)
      if (count % 100 === 0) await client.flush()
    }
  })
  const stream = streamOf(30 * MIB + 12_345)
  const stored = await write(engine, stream)
  expect(stored).toBe(31)
  const { chunks } = engine.caches()[0]!
  expect(chunks).toMatchObject({ total: 60, checkpoint: 31, reserved: 0 })
  expect(chunks.free + chunks.disk + chunks.checkpoint).toBe(60)
  expect((await read(engine)).equals(stream)).toBe(true)
  await engine.deleteCheckpoint({ cache: 'fast' }, ID)
  await until('disks to have the room again', () => engine.caches()[0]!.chunks.disk > 40)
  isDone = true
  await Promise.all(guests)
  for (const [disk, client] of clients.entries())
    for (const [page, version] of versions[disk]!)
      if (!(await client.read(page * PAGE, PAGE)).equals(pageOf(page, version))) expect.fail(`page ${page} of ${disk}`)
})

test('a cache, and a device of it, that holds a checkpoint is not given up; what does not fit is refused', async () => {
  const engine = await startEngine()
  const paths = await createCache(engine, 20, 20)
  await attach(engine, 'a', 64 * MIB)
  await write(engine, streamOf(25 * MIB))
  for (const { id } of engine.caches()[0]!.devices) {
    const flush = (): Promise<void> => Promise.resolve()
    await expect(engine.removeDevice('fast', id, { ...WATCH, flush, record: flush })).rejects.toMatchObject({
      code: 'REFUSED',
      message: 'cache fast has checkpoints of suspended VMs there: web01',
    })
  }
  await expect(engine.reserve('fast', VM, 8 * MIB, { bestEffort: false })).rejects.toMatchObject({ code: 'NO_SPACE' })
  expect(await engine.reserve('fast', VM, 8 * MIB, { bestEffort: true })).toBe(6 * MIB)
  await engine.detach('a', { keepLog: false, discardDirty: true, ...WATCH })
  await expect(engine.eraseCache('fast')).rejects.toMatchObject({ code: 'REFUSED' })
  await engine.closeCache('fast')
  await engine.openCache({ name: 'fast', devices: paths }, { allowMissing: false })
  expect(engine.caches()[0]!.chunks).toMatchObject({ checkpoint: 26, reserved: 0, free: 14 })
  expect((await read(engine)).equals(streamOf(25 * MIB))).toBe(true)
})

test('a checkpoint that lost a chunk is reported when its cache is opened, and nobody gets the others', async () => {
  const engine = await startEngine()
  const [path] = await createCache(engine, 20)
  await write(engine, streamOf(10 * MIB))
  await engine.closeCache('fast')
  overwrite(path!, 6 * MIB + 40, Buffer.from([0x5a]))
  const events: string[] = []
  engine.onEvent(({ what, reason }) => events.push(`${what}: ${reason}`))
  await engine.openCache({ name: 'fast', devices: [path!] }, { allowMissing: false })
  expect(events).toEqual([`checkpoint.damaged: checkpoint ${ID} of VM web01: 1 of its 11 chunks are missing`])
  expect(engine.caches()[0]!.chunks).toMatchObject({ free: 9, checkpoint: 11 })
  await expect(read(engine)).rejects.toMatchObject({ code: 'CORRUPT' })
  await engine.deleteCheckpoint({ cache: 'fast' }, ID)
  expect(engine.caches()[0]!.chunks).toMatchObject({ free: 20, checkpoint: 0 })
})

test('a cache that is full and half of which is reserved still takes up another disk, and the suspend finds its room', async () => {
  const engine = await startEngine()
  await createCache(engine, 60)
  const first = await attach(engine, 'a', 64 * MIB)
  for (let page = 0; page < (58 * MIB) / PAGE; page++) await first.write(page * PAGE, pageOf(page, 1))
  await engine.flush('a', WATCH)
  expect(await engine.reserve('fast', VM, 30 * MIB, { bestEffort: false })).toBe(30 * MIB)
  const second = await attach(engine, 'b', 64 * MIB)
  for (let page = 0; page < (4 * MIB) / PAGE; page++) await second.write(page * PAGE, pageOf(page, 2))
  // What the first one gave up is the second one's, and no more.
  expect(engine.caches()[0]!.chunks).toMatchObject({ reserved: 30, checkpoint: 0 })
  expect(engine.caches()[0]!.chunks.disk).toBeGreaterThan(45)
  expect(await write(engine, streamOf(29 * MIB))).toBe(30)
  expect(engine.caches()[0]!.chunks).toMatchObject({ reserved: 0, checkpoint: 30 })
  for (let page = 0; page < (4 * MIB) / PAGE; page++)
    if (!(await second.read(page * PAGE, PAGE)).equals(pageOf(page, 2))) expect.fail(`page ${page}`)
})

test('killed while a checkpoint is written the cache has all of it, or free chunks', async () => {
  const engine = await startEngine()
  const paths = await createCache(engine, 40)
  await engine.closeCache('fast')
  const stream = streamOf(30 * MIB)
  const socket = join(directory, 'memory')
  const entry = join(directory, 'engine.mjs')
  const script = `
    import { openEngine } from ${JSON.stringify(built('engine/io-engine.js'))}
    import { systemClock } from ${JSON.stringify(built('base/clock.js'))}
    import { createLogger } from ${JSON.stringify(built('base/logger.js'))}
    const logger = createLogger({ level: 'error', part: 'test' })
    const engine = await openEngine({ ioThreads: 1, clock: systemClock, logger })
    await engine.openCache({ name: 'fast', devices: ${JSON.stringify(paths)} }, { allowMissing: false })
    const source = { id: '${ID}', vm: '${VM}', name: 'web01', attributes: '', bytes: null, socket: ${JSON.stringify(socket)} }
    await engine.writeCheckpoint({ cache: 'fast' }, source, {
      ready: () => console.log('ready'),
      progress: (done, total) => console.log(total === null ? 'streaming' : 'verifying'),
      signal: new AbortController().signal,
    })
    console.log('sealed')
    setInterval(() => {}, 1000)
  `
  await writeFile(entry, script)
  for (const [moment, delay] of [
    ['ready', 20],
    ['streaming', 0],
    ['verifying', 0],
    ['verifying', 15],
    ['sealed', 0],
  ] as const) {
    const child = spawn(process.execPath, [entry], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    let output = ''
    child.stdout.on('data', (part: Buffer) => (output += part.toString()))
    await until('the engine to listen', () => output.includes('ready'))
    connect(socket)
      .on('error', () => undefined)
      .resume()
      .end(stream)
    await until(moment, () => output.includes(moment))
    await new Promise((resolve) => setTimeout(resolve, delay))
    child.kill('SIGKILL')
    await exited
    await rm(socket, { force: true })
    await engine.openCache({ name: 'fast', devices: paths }, { allowMissing: false })
    const found = await engine.checkpoints({ cache: 'fast' })
    const { chunks } = engine.caches()[0]!
    if (output.includes('sealed')) expect(found).toHaveLength(1)
    if (found.length === 0) expect(chunks).toMatchObject({ free: 40, checkpoint: 0 })
    else {
      expect(found).toMatchObject([{ id: ID, vm: VM, bytes: stream.length, damage: null }])
      expect(chunks).toMatchObject({ free: 9, checkpoint: 31 })
      expect((await read(engine)).equals(stream)).toBe(true)
      await engine.deleteCheckpoint({ cache: 'fast' }, ID)
    }
    await engine.closeCache('fast')
  }
})
