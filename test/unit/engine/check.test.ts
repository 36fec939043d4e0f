import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { systemRandom } from '../../../src/base/random.js'
import { bootId } from '../../../src/base/system-calls.js'
import { checkCache } from '../../../src/engine/check/check-cache.js'
import { lockDevice } from '../../../src/engine/device/lock-device.js'
import { openDevice } from '../../../src/engine/device/open-device.js'
import type { Chunk, ChunkSource } from '../../../src/engine/log/chunk-source.js'
import { openLog } from '../../../src/engine/log/open-log.js'
import { planRecovery, type RecoveryPlan } from '../../../src/engine/log/recovery.js'
import { dataExtent } from '../../../src/engine/log/staged-extent.js'
import { completeObject } from '../../../src/engine/object/complete-object.js'
import { ObjectWriter } from '../../../src/engine/object/write-object.js'
import { prepareDevices } from '../../../src/engine/pool/prepare-devices.js'
import { Pool, chunkOffset, formatDevices, type ChunkPlace } from '../../../src/engine/pool/pool.js'
import type { CacheCheckDocument } from '../../../src/protocol/control/cache-check.js'

const MIB = 2 ** 20
const PAGE = 4096
const LOG_ID = 'ab'.repeat(16)
/** Behind the superblocks, chunk after chunk. */
const chunkAt = (index: number): number => MIB + index * MIB

let directory: string
let paths: string[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-check-'))
  paths = []
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function createCache(...sizes: number[]): Promise<void> {
  const devices = []
  for (const [index, bytes] of sizes.entries()) {
    const path = join(directory, `device${index}`)
    writeFileSync(path, Buffer.alloc(bytes))
    paths.push(path)
    devices.push(await openDevice(path))
  }
  await formatDevices(
    devices,
    { name: 'fast', blockBytes: PAGE, chunkBytes: MIB, hostId: '0'.repeat(32) },
    { random: systemRandom, clock: systemClock },
  )
  for (const device of devices) await device.close()
}

/** An engine's life: opens cache and log, writes pages, and closes cleanly or dies. */
async function live(pages: readonly number[], { close = true } = {}): Promise<RecoveryPlan> {
  const devices = []
  for (const path of paths) devices.push(await openDevice(path))
  const pool = await Pool.open(devices, { allowMissing: false })
  const chunkOf = ({ deviceIndex, index, generation }: ChunkPlace): Chunk => {
    const { device, superblock } = pool.devices[deviceIndex]!
    return { device, deviceIndex, index, offset: chunkOffset(superblock, index), generation }
  }
  const source: ChunkSource = {
    cacheId: pool.cacheId,
    chunkBytes: MIB,
    take(preferred) {
      const place = pool.take(preferred)
      return place === undefined ? undefined : chunkOf(place)
    },
    give: (chunk) => pool.give(chunk),
    get exhausted() {
      return pool.freeChunks === 0
    },
    whenChanged: (callback) => void setImmediate(callback),
  }
  const found = pool.claim(LOG_ID).map((place) => ({ chunk: chunkOf(place), header: place.header }))
  const plan = await planRecovery(found, { chunkBytes: MIB, bootId: bootId() })
  const { log, load } = await openLog(
    plan,
    {
      identity: { logId: LOG_ID, diskName: 'web01/vda', origin: '/images/web01.raw', diskBytes: 2 ** 30, phase: 0 },
      epoch: 1,
      bootId: bootId(),
      source,
      clock: systemClock,
      counters: {
        deviceWrittenBytes: 0,
        deviceReadBytes: 0,
        evictions: 0,
        reinsertions: 0,
        relocatedBytes: 0,
        badPages: 0,
      },
      defer: setImmediate,
      onFailed: () => undefined,
    },
    {
      replacement: { inserted: () => 0, hit: (heat) => heat, reclaimed: () => -1, resized: () => {} },
      maximumChunks: 100,
      keepPages: true,
    },
  )
  await load()
  for (const page of pages) {
    const batch = log.stageWrite(dataExtent(page, 1, 0xff, Buffer.alloc(PAGE, page + 1)))
    batch.join()
    await batch.written()
    batch.settle()
  }
  if (close) await log.close()
  else {
    await log.commit()
    // Seals that are under way end; nothing else is written any more.
    await new Promise((resolve) => setTimeout(resolve, 50))
    log.abandon()
  }
  for (const device of devices) await device.close()
  return plan
}

function check(repair = false): Promise<CacheCheckDocument> {
  return checkCache(paths, { repair, progress: () => undefined, signal: new AbortController().signal })
}

const kinds = ({ findings }: CacheCheckDocument): string[] => findings.map(({ kind }) => kind)

function change(path: string, at: number, how: (bytes: Buffer) => void, length = 512): void {
  const file = openSync(path, 'r+')
  const bytes = Buffer.alloc(length)
  readSync(file, bytes, 0, length, at)
  how(bytes)
  writeSync(file, bytes, 0, length, at)
  closeSync(file)
}

const flip = (path: string, at: number): void => change(path, at, (bytes) => void (bytes[0]! ^= 1))
const pages = (count: number, first = 0): number[] => Array.from({ length: count }, (_, index) => first + index)

/** The place on the only device where a page's data begins. */
function findPage(page: number): number {
  const at = readFileSync(paths[0]!).indexOf(Buffer.alloc(PAGE, page + 1))
  if (at < 0) throw new Error(`page ${page} is not there`)
  return at
}

describe('a cache that is well', () => {
  test('new', async () => {
    await createCache(12 * MIB, 6 * MIB)
    const document = await check()
    expect(document).toMatchObject({
      cache: 'fast',
      chunks: { total: 16, free: 16, log: 0, checkpoint: 0, left: 0, damaged: 0 },
      logs: [],
      checkpoints: [],
      findings: [],
      repaired: 0,
    })
    expect(document.devices.map(({ path, chunks }) => [path, chunks])).toEqual([
      [paths[0], 11],
      [paths[1], 5],
    ])
  })

  test('closed, in many chunks of two devices', async () => {
    await createCache(5 * MIB, 9 * MIB)
    await live(pages(900))
    const document = await check()
    expect(document.findings).toEqual([])
    expect(document.logs).toMatchObject([
      { logId: LOG_ID, disk: 'web01/vda', origin: '/images/web01.raw', end: 'closed', entries: 900 },
    ])
    expect(document.chunks.log).toBe(document.logs[0]!.chunks)
    expect(document.chunks.log + document.chunks.free).toBe(12)
  })

  test('after several lives, a kill the last', async () => {
    await createCache(20 * MIB)
    await live(pages(600))
    await live(pages(600, 300))
    await live(pages(100), { close: false })
    const document = await check()
    expect(document.findings).toEqual([])
    expect(document.logs[0]!.end).toBe('killed')
  })

  test('is not changed by a check', async () => {
    await createCache(12 * MIB)
    await live(pages(500))
    flip(paths[0]!, findPage(7) + 9)
    const before = readFileSync(paths[0]!)
    expect(kinds(await check())).toEqual(['page'])
    expect(readFileSync(paths[0]!).equals(before)).toBe(true)
  })
})

describe('what is wrong is found, and mended only where nothing is decided by it', () => {
  test('a superblock copy', async () => {
    await createCache(12 * MIB)
    await live(pages(10))
    for (const at of [0, 64 * 1024]) {
      flip(paths[0]!, at + 33)
      const { findings } = await check()
      expect(findings).toMatchObject([{ kind: 'superblock', chunk: null, effect: 'harmless', repaired: false }])
      expect(await check(true)).toMatchObject({ repaired: 1 })
      expect((await check()).findings).toEqual([])
    }
  })

  test('the summary of a chunk', async () => {
    await createCache(12 * MIB)
    await live(pages(600))
    for (const at of [chunkAt(1) - 64, chunkAt(1) - 140]) {
      flip(paths[0]!, at)
      expect((await check()).findings).toMatchObject([{ kind: 'summary', chunk: 0, effect: 'harmless' }])
      expect(await check(true)).toMatchObject({ repaired: 1 })
      expect((await check()).findings).toEqual([])
    }
    expect((await live([])).chunks[0]).toMatchObject({ sealed: true })
  })

  test('a page of data', async () => {
    await createCache(12 * MIB)
    await live(pages(600))
    flip(paths[0]!, findPage(5) + 100)
    const document = await check(true)
    expect(document.findings).toMatchObject([
      { kind: 'page', chunk: 0, effect: 'loses clean pages', repaired: false, seen: expect.stringContaining('page 5') },
    ])
    expect(kinds(await check())).toEqual(['page'])
  })

  test('the header of a frame in a sealed chunk: its summary still knows what is in it', async () => {
    await createCache(12 * MIB)
    await live(pages(600))
    flip(paths[0]!, findPage(5) - 512 + 30)
    expect((await check()).findings).toMatchObject([{ kind: 'frame', chunk: 0, effect: 'harmless' }])
  })

  test('a frame that had been stable, in the chunk that is open', async () => {
    await createCache(12 * MIB)
    await live(pages(20))
    flip(paths[0]!, findPage(5) - 512 + 30)
    const document = await check()
    expect(kinds(document)).toContain('log')
    expect(document.findings.find(({ kind }) => kind === 'log')).toMatchObject({ effect: 'loses clean pages' })
  })

  test('the header of a chunk, and the names behind it', async () => {
    await createCache(12 * MIB)
    await live(pages(20))
    flip(paths[0]!, chunkAt(0) + 600)
    expect((await check()).findings).toMatchObject([{ kind: 'chunk-names', chunk: 0, effect: 'harmless' }])
    flip(paths[0]!, chunkAt(0) + 60)
    const document = await check()
    expect(document.findings).toMatchObject([{ kind: 'chunk-header', chunk: 0, effect: 'loses clean pages' }])
    expect(document.chunks.damaged).toBe(1)
  })

  test('a chunk that a later session left behind is freed', async () => {
    await createCache(12 * MIB)
    await live(pages(300), { close: false })
    const bytes = readFileSync(paths[0]!)
    await live(pages(300), { close: false })
    const now = readFileSync(paths[0]!)
    // The second life began in a chunk of its own number; an old one of that number, which a crash kept from being freed:
    const sessionTwo = [...Array(11).keys()].find((index) => now.readBigUInt64LE(chunkAt(index) + 64) === 2n)!
    const old = Buffer.from(bytes.subarray(chunkAt(0), chunkAt(1)))
    old.writeBigUInt64LE(now.readBigUInt64LE(chunkAt(sessionTwo) + 56), 56)
    const { crc32 } = await import('node:zlib')
    old.writeUInt32LE(crc32(old.subarray(4, 512)), 0)
    change(paths[0]!, chunkAt(9), (target) => void old.copy(target), MIB)
    const document = await check()
    expect(document.findings).toMatchObject([{ kind: 'left-chunk', chunk: 9, effect: 'harmless' }])
    expect(document.chunks.left).toBe(1)
    expect(await check(true)).toMatchObject({ repaired: 1 })
    expect(await check()).toMatchObject({ findings: [], chunks: { left: 0 } })
  })

  test('a device that is not named', async () => {
    await createCache(12 * MIB, 12 * MIB)
    await live(pages(100))
    paths.pop()
    expect((await check()).findings).toMatchObject([{ kind: 'device-missing', effect: 'loses clean pages' }])
  })
})

test('a device that a removal has left behind is none of the cache, whichever is named first', async () => {
  await createCache(12 * MIB, 12 * MIB)
  const devices = await Promise.all(paths.map((path) => openDevice(path)))
  const pool = await Pool.open(devices, { allowMissing: false })
  pool.retire(0)
  await pool.remove(0)
  for (const device of devices) await device.close()
  expect(await check()).toMatchObject({ findings: [], devices: [{ path: paths[1] }] })
})

describe('what cannot be checked is refused', () => {
  test('a cache that an engine has open: IN_USE, and nothing is read', async () => {
    await createCache(12 * MIB)
    const lock = await lockDevice(paths[0]!)
    await expect(check()).rejects.toMatchObject({ code: 'IN_USE' })
    await lock.release()
    expect((await check()).findings).toEqual([])
  })

  test('no vmcache device, devices of two caches, a device that is cut, one without superblock', async () => {
    const blank = join(directory, 'blank')
    writeFileSync(blank, Buffer.alloc(2 * MIB))
    paths = [blank]
    await expect(check()).rejects.toMatchObject({ code: 'DEVICE_FOREIGN' })
    paths = []
    await createCache(12 * MIB)
    const [first] = paths
    truncateSync(first!, 6 * MIB)
    await expect(check()).rejects.toMatchObject({ code: 'CORRUPT' })
    truncateSync(first!, 12 * MIB)
    await live(pages(3))
    flip(first!, 99)
    flip(first!, 64 * 1024 + 99)
    await expect(check()).rejects.toMatchObject({ code: 'CORRUPT' })
  })

  test('a check can be cancelled, and says how far it is', async () => {
    await createCache(12 * MIB)
    await live(pages(900))
    const seen: [number, number | null][] = []
    const controller = new AbortController()
    const cancelled = checkCache(paths, {
      repair: false,
      progress: (done, total) => {
        seen.push([done, total])
        if (done === 2) controller.abort()
      },
      signal: controller.signal,
    })
    await expect(cancelled).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(seen.map(([done]) => done)).toEqual([1, 2])
    expect(seen[0]![1]).toBeGreaterThan(2)
  })
})

describe('a checkpoint', () => {
  const OBJECT_ID = 'ef'.repeat(16)

  /** An engine's life in which a stream of 3 MB is written; returns the chunks of it. */
  async function suspend({ finish = true } = {}): Promise<readonly Chunk[]> {
    const devices = []
    for (const path of paths) devices.push(await openDevice(path))
    const pool = await Pool.open(devices, { allowMissing: false })
    const target = {
      cacheId: pool.cacheId,
      chunkBytes: MIB,
      take: () => Promise.resolve(pool.chunkAt(pool.takeForObject()!)),
      medium: ({ device }: Chunk) => Promise.resolve(device),
    }
    const writer = new ObjectWriter(target, { id: OBJECT_ID, createdAt: 0, attributes: Buffer.from('{}') })
    for (let left = 3_000_000; left > 0;) {
      const count = Math.min(left, writer.space.length)
      writer.space.subarray(0, count).fill(left)
      left -= count
      writer.advance(count)
      await writer.settled()
    }
    const whose = { vm: 'aa'.repeat(16), name: 'web01' }
    if (finish) await completeObject(writer, whose, () => undefined)
    else await writer.finish(whose)
    for (const device of devices) await device.close()
    return writer.taken
  }

  test('is read, and counted', async () => {
    await createCache(17 * MIB)
    await suspend()
    expect(await check()).toMatchObject({
      chunks: { total: 16, free: 13, log: 0, checkpoint: 3, left: 0, damaged: 0 },
      checkpoints: [{ checkpoint: OBJECT_ID, vm: 'web01', bytes: 3_000_000, chunks: 3 }],
      findings: [],
    })
  })

  test('with a flipped bit is a finding that no origin mends', async () => {
    await createCache(17 * MIB)
    const [, chunk] = await suspend()
    flip(paths[0]!, chunk!.offset + 300_000)
    expect((await check(true)).findings).toMatchObject([
      {
        kind: 'checkpoint',
        effect: 'loses a checkpoint',
        repaired: false,
        seen: expect.stringContaining('block 4 of its chunk 1'),
      },
    ])
  })

  test('that was never finished is left over, and freed on request', async () => {
    await createCache(17 * MIB)
    await suspend({ finish: false })
    for (const repair of [false, true]) {
      const document = await check(repair)
      expect(document).toMatchObject({ chunks: { free: 13, checkpoint: 0, left: 3 }, checkpoints: [] })
      expect(document.findings).toMatchObject([{ kind: 'left-chunk', effect: 'harmless', repaired: repair }])
    }
    expect((await check()).chunks).toMatchObject({ free: 16, left: 0 })
  })

  test('keeps its device from being made another cache’s, whatever the force', async () => {
    await createCache(17 * MIB)
    await suspend()
    const prepared = prepareDevices([{ path: paths[0]!, sizeBytes: null }], {
      force: true,
      progress: () => undefined,
      signal: new AbortController().signal,
    })
    await expect(prepared).rejects.toMatchObject({
      code: 'REFUSED',
      message: expect.stringContaining('holds the memory of VM web01'),
      hint: expect.stringContaining(`vmcache checkpoint delete ${OBJECT_ID} --discard-memory`),
    })
  })
})
