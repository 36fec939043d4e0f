import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import { chunksFor } from '../../../../src/engine/object/stored-object.js'
import { stamped } from '../object/test-objects.js'
import { CHUNK_BYTES, TestCheckpoints, VM } from './test-checkpoints.js'

const ID = 'ab'.repeat(16)
const OTHER_VM = '99999999-2222-3333-4444-555555555555'
const MIB = 2 ** 20
const WATCH = { progress: () => undefined, signal: new AbortController().signal }

let test_: TestCheckpoints
afterEach(() => test_.end())
async function create(...chunks: number[]): Promise<TestCheckpoints> {
  return (test_ = await TestCheckpoints.create(chunks))
}

describe('a stream', () => {
  test.each([0, 1, 3_000_001, 20 * MIB])(
    'of %i bytes comes back through sockets, also after the cache was opened again',
    async (length) => {
      const cache = await create(30)
      const stream = stamped(length, 3)
      const attributes = JSON.stringify({ qemu: '7.2.22' })
      const source = cache.source(ID, { attributes })
      const checkpoint = await cache.write(source, stream)
      const chunks = chunksFor(attributes.length, length, CHUNK_BYTES)
      expect(checkpoint).toMatchObject({ id: ID, vm: VM, name: 'web01', bytes: length, attributes, damage: null })
      expect(checkpoint.storedBytes).toBe(chunks * CHUNK_BYTES)
      expect(existsSync(source.socket)).toBe(false)
      for (let round = 0; round < 2; round++) {
        expect((await cache.read(ID)).equals(stream)).toBe(true)
        expect(await cache.checkpoints.checkpoints()).toEqual([checkpoint])
        expect(await cache.checkpoints.verifyCheckpoint(ID, WATCH)).toEqual(checkpoint)
        expect(cache.figures).toEqual({ free: 30 - chunks, disk: 0, checkpoint: chunks, reserved: 0 })
        await cache.open()
      }
      await cache.checkpoints.deleteCheckpoint(ID)
      expect(cache.figures).toEqual({ free: 30, disk: 0, checkpoint: 0, reserved: 0 })
      await expect(cache.checkpoints.deleteCheckpoint(ID)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await expect(cache.read(ID)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    },
  )

  test('tells how far it is, and how far reading back', async () => {
    const cache = await create(30)
    const told: [number, number | null][] = []
    const progress = (done: number, total: number | null): void => void told.push([done, total])
    await cache.write(cache.source(ID), stamped(20 * MIB, 1), { progress })
    expect(told.some(([done, total]) => total === null && done > 8 * MIB)).toBe(true)
    expect(told.at(-1)).toEqual([20 * MIB, 20 * MIB])
  })

  test('that is cancelled leaves nothing: before anybody came, in the middle, and while it is read back', async () => {
    const cache = await create(30)
    await cache.checkpoints.reserve(VM, 4 * CHUNK_BYTES, { bestEffort: false })
    for (const when of ['listening', 'sent', 'reading back']) {
      const abort = new AbortController()
      const source = cache.source(ID)
      const stream = stamped(10 * MIB, 1)
      const written = cache.write(
        source,
        stream,
        {
          signal: abort.signal,
          ready: () => void (when === 'listening' && abort.abort()),
          progress: (_done, total) => void (when === 'reading back' && total !== null && abort.abort()),
        },
        (socket) => (when === 'sent' ? abort.abort() : socket.end()),
      )
      await expect(written).rejects.toMatchObject({ code: 'INTERRUPTED' })
      expect(existsSync(source.socket)).toBe(false)
      expect(cache.figures).toEqual({ free: 30, disk: 0, checkpoint: 0, reserved: 4 })
    }
    expect(cache.pool.objects.size).toBe(0)
    await cache.open()
    expect(cache.figures).toEqual({ free: 30, disk: 0, checkpoint: 0, reserved: 0 })
  })

  test('is read by one who leaves too soon: INTERRUPTED, and it can be read again', async () => {
    const cache = await create(30)
    await cache.write(cache.source(ID), stamped(20 * MIB, 1))
    const abort = new AbortController()
    const read = cache.read(ID, { signal: abort.signal, progress: () => abort.abort() })
    await expect(read).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect((await cache.read(ID)).equals(stamped(20 * MIB, 1))).toBe(true)
  })

  test('is not deleted while it is read', async () => {
    const cache = await create(30)
    await cache.write(cache.source(ID), stamped(20 * MIB, 1))
    let refused: Promise<unknown> | undefined
    await cache.read(ID, {
      progress: () => (refused ??= cache.checkpoints.deleteCheckpoint(ID).catch((error: unknown) => error)) as never,
    })
    expect(await refused).toMatchObject({ code: 'IN_USE' })
    await cache.checkpoints.deleteCheckpoint(ID)
  })

  test('ends with its cache', async () => {
    const cache = await create(30)
    const written = cache.write(
      cache.source(ID),
      Buffer.alloc(0),
      { ready: () => void cache.checkpoints.close() },
      () => undefined,
    )
    await expect(written).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })

  test('with an id that is there, or with too many attributes, is refused before it is listened for', async () => {
    const cache = await create(30)
    await cache.write(cache.source(ID), stamped(MIB, 1))
    await expect(cache.write(cache.source(ID), stamped(MIB, 1))).rejects.toMatchObject({ code: 'IN_USE' })
    const long = cache.source('cd'.repeat(16), { attributes: 'ü'.repeat(40_000) })
    await expect(cache.write(long, Buffer.alloc(0))).rejects.toMatchObject({ code: 'USAGE' })
  })

  test.each(['write', 'read'] as const)(
    'is not kept, and its connection closed, where a device fails a %s',
    async (call) => {
      const cache = await create(30, 30)
      await cache.checkpoints.reserve(VM, 4 * CHUNK_BYTES, { bestEffort: false })
      let calls = 0
      cache.onMedium = (device) => {
        const failing = (...args: never[]): Promise<void> => {
          const isLate = ++calls > 4
          if (isLate)
            for (const position of [0, 1]) if (cache.devices[position]!.path === device.path) cache.pool.fail(position)
          if (isLate) return Promise.reject(new VmcacheError('DEVICE_FAILED', `device ${device.path} failed`))
          return (device[call] as (...args: never[]) => Promise<void>).apply(device, args)
        }
        return { ...device, [call]: failing }
      }
      let closed: Promise<unknown> | undefined
      const written = cache.write(cache.source(ID), stamped(12 * MIB, 1), {}, (socket) => {
        closed = once(socket, 'close')
        socket.end()
      })
      await expect(written).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
      await closed
      expect(await cache.checkpoints.checkpoints()).toEqual([])
      // At most the one that says to the device that failed that it is deleted.
      expect(cache.figures.checkpoint).toBeLessThanOrEqual(1)
      expect(cache.figures).toMatchObject({ reserved: 4 })
      cache.onMedium = (device) => device
      await cache.open()
      expect(cache.figures).toEqual({ free: 60, disk: 0, checkpoint: 0, reserved: 0 })
    },
  )

  test('of what is no VM is refused', async () => {
    const cache = await create(30)
    const written = cache.write(cache.source(ID, { vm: 'web01' }), Buffer.alloc(0))
    await expect(written).rejects.toMatchObject({ code: 'USAGE' })
  })

  test('keeps as much of a long name as there is room for', async () => {
    const cache = await create(30)
    const { name } = await cache.write(cache.source(ID, { name: 'ü'.repeat(200) }), stamped(1, 1))
    expect(name).toBe('ü'.repeat(128))
  })
})

describe('a flipped bit', () => {
  test('is CORRUPT to verify and read, which gives out only what is right; the list still has it', async () => {
    const cache = await create(30)
    const stream = stamped(12 * MIB, 1)
    await cache.write(cache.source(ID), stream)
    const { chunk } = cache.pool.objects.get(ID)!.chunks[6]!
    await flip(cache, chunk.offset + 500_000)
    await expect(cache.checkpoints.verifyCheckpoint(ID, WATCH)).rejects.toMatchObject({ code: 'CORRUPT' })
    await expect(cache.read(ID)).rejects.toMatchObject({ code: 'CORRUPT' })
    expect(cache.received.length).toBeLessThan(stream.length)
    expect(cache.received.equals(stream.subarray(0, cache.received.length))).toBe(true)
    expect(await cache.checkpoints.checkpoints()).toMatchObject([{ id: ID, damage: null }])
  })

  test('of a header is said when the cache is opened', async () => {
    const cache = await create(30)
    await cache.write(cache.source(ID, { attributes: '{"a":1}' }), stamped(12 * MIB, 1))
    const { chunks } = cache.pool.objects.get(ID)!
    await flip(cache, chunks[0]!.chunk.offset + 40)
    await cache.open()
    expect(await cache.checkpoints.checkpoints()).toMatchObject([
      { id: ID, name: 'web01', attributes: '', damage: `1 of its ${chunks.length} chunks are missing` },
    ])
    await cache.checkpoints.deleteCheckpoint(ID)
    expect(cache.figures).toEqual({ free: 30, disk: 0, checkpoint: 0, reserved: 0 })
  })

  async function flip(cache: TestCheckpoints, offset: number): Promise<void> {
    const [device] = cache.devices
    const sector = Buffer.alloc(4096)
    const at = offset - (offset % 4096)
    await device!.read(at, sector, 0, sector.length)
    sector[offset - at]! ^= 1
    await device!.write(at, sector)
    await device!.commit([{ offset: at, length: sector.length }])
  }
})

describe('chunks', () => {
  test('are taken from those that are free, then from logs that have most', async () => {
    const cache = await create(40)
    const [small, large] = [cache.addDisk('small', 10), cache.addDisk('large', 25)]
    expect(cache.figures).toEqual({ free: 5, disk: 35, checkpoint: 0, reserved: 0 })
    const stream = stamped(15 * MIB, 2)
    await cache.write(cache.source(ID, { bytes: stream.length }), stream)
    expect(cache.figures).toMatchObject({ checkpoint: 16, reserved: 0 })
    expect([small.held.length, large.held.length]).toEqual([10, 14])
    expect((await cache.read(ID)).equals(stream)).toBe(true)
  })

  test('are found for many at once', async () => {
    const cache = await create(80)
    const disk = cache.addDisk('web01/vda', 75)
    const ids = Array.from({ length: 10 }, (_, index) => String(index).repeat(32))
    const stream = (index: number): Buffer => stamped(6 * MIB, index)
    await Promise.all(
      ids.map((id, index) => cache.write(cache.source(id, { bytes: index % 2 === 0 ? 6 * MIB : null }), stream(index))),
    )
    expect(cache.figures).toMatchObject({ checkpoint: 70, reserved: 0 })
    expect(disk.held.length).toBeGreaterThanOrEqual(8)
    for (const [index, id] of ids.entries()) expect((await cache.read(id)).equals(stream(index))).toBe(true)
  })

  test('come from a log that has to write first', async () => {
    const cache = await create(40)
    const disk = cache.addDisk('web01/vda', 40)
    disk.isDirty = true
    await cache.write(cache.source(ID), stamped(10 * MIB, 2))
    expect(disk.isDirty).toBe(false)
    expect(cache.figures).toEqual({ free: 0, disk: 29, checkpoint: 11, reserved: 0 })
  })

  test('NO_SPACE with figures, before anything is evicted, where disks keep what they are promised', async () => {
    const cache = await create(40)
    const disk = cache.addDisk('web01/vda', 40)
    disk.floor = 32
    const stream = stamped(10 * MIB, 2)
    await expect(cache.write(cache.source(ID, { bytes: stream.length }), stream)).rejects.toMatchObject({
      code: 'NO_SPACE',
      details: { wantedBytes: 11 * MIB, promisableBytes: 8 * MIB },
    })
    expect(disk.held.length).toBe(40)
    // Where nobody knows beforehand: in the middle.
    await expect(cache.write(cache.source(ID), stream)).rejects.toMatchObject({ code: 'NO_SPACE' })
    expect(cache.figures).toEqual({ free: 8, disk: 32, checkpoint: 0, reserved: 0 })
  })

  test('that are reserved are no log’s, and of no other checkpoint where they are all that is left', async () => {
    const cache = await create(20)
    await cache.checkpoints.reserve(OTHER_VM, 15 * CHUNK_BYTES, { bestEffort: false })
    expect(cache.pool.availableChunks).toBe(5)
    const stream = stamped(6 * MIB, 2)
    await expect(cache.write(cache.source(ID), stream)).rejects.toMatchObject({ code: 'NO_SPACE' })
    await cache.write(cache.source(ID, { vm: OTHER_VM, bytes: stream.length }), stream)
    // What it had reserved beyond its need is for all again.
    expect(cache.figures).toEqual({ free: 13, disk: 0, checkpoint: 7, reserved: 0 })
    expect(cache.pool.availableChunks).toBe(13)
  })
})

describe('a reservation', () => {
  test('is in whole chunks, replaces the one before, and is given up with 0', async () => {
    const cache = await create(20)
    const { checkpoints } = cache
    expect(await checkpoints.reserve(VM, CHUNK_BYTES + 1, { bestEffort: false })).toBe(2 * CHUNK_BYTES)
    expect(await checkpoints.reserve(VM, 5 * CHUNK_BYTES, { bestEffort: false })).toBe(5 * CHUNK_BYTES)
    expect(cache.figures.reserved).toBe(5)
    const { freed } = cache
    expect(await checkpoints.reserve(VM, 0, { bestEffort: false })).toBe(0)
    expect([cache.figures.reserved, cache.freed]).toEqual([0, freed + 1])
  })

  test('in a full cache leaves to another log what a log gives up for it; what nobody waits for is set aside', async () => {
    const cache = await create(40)
    const [full, waiting] = [cache.addDisk('full', 40), cache.addDisk('waiting', 0)]
    await cache.checkpoints.reserve(VM, 10 * CHUNK_BYTES, { bestEffort: false })
    await full.giver().limit(38)
    expect(cache.pool.availableChunks).toBe(2)
    waiting.grow(1)
    cache.pool.setAside()
    expect([cache.pool.freeChunks, cache.pool.availableChunks]).toEqual([1, 0])
    await full.giver().limit(20)
    cache.pool.setAside()
    expect([cache.pool.freeChunks, cache.pool.availableChunks]).toEqual([19, 9])
  })

  test('that cannot be met is NO_SPACE and changes nothing; with best effort it is what there is', async () => {
    const cache = await create(20)
    const { checkpoints } = cache
    cache.addDisk('web01/vda', 12)
    await checkpoints.reserve(VM, 3 * CHUNK_BYTES, { bestEffort: false })
    await checkpoints.reserve(OTHER_VM, 4 * CHUNK_BYTES, { bestEffort: false })
    await expect(checkpoints.reserve(VM, 9 * CHUNK_BYTES, { bestEffort: false })).rejects.toMatchObject({
      code: 'NO_SPACE',
      details: { wantedBytes: 9 * CHUNK_BYTES, promisableBytes: 8 * CHUNK_BYTES },
    })
    expect(cache.figures.reserved).toBe(7)
    expect(await checkpoints.reserve(VM, 9 * CHUNK_BYTES, { bestEffort: true })).toBe(8 * CHUNK_BYTES)
    expect(cache.figures.reserved).toBe(12)
  })
})
