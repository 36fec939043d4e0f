/**
 * The example that says what a reservation is, number by number: a cache of 72 GB, six VMs, four of them with rapid suspend. Once with a cache
 * of 72 MB and real streams, once with the chunks of one of 72 GB alone.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { Checkpoints } from '../../../../src/engine/checkpoint/checkpoints.js'
import { limitsOf } from '../../../../src/engine/checkpoint/make-room.js'
import { dataBytesOf } from '../../../../src/engine/object/stored-object.js'
import { Pool, formatDevices } from '../../../../src/engine/pool/pool.js'
import { FIRST_CHUNK_OFFSET } from '../../../../src/format/superblock.js'
import { systemClock } from '../../../../src/base/clock.js'
import { stamped } from '../object/test-objects.js'
import { SparseDevice } from './sparse-device.js'
import { CHUNK_BYTES, TestCheckpoints, TestDisk } from './test-checkpoints.js'

const VMS = [1, 2, 3, 4, 5, 6]
const RESERVED: Readonly<Record<number, number>> = { 1: 4, 2: 6, 4: 4, 6: 4 }
const uuid = (vm: number): string => `${String(vm).repeat(8)}-2222-3333-4444-555555555555`
const id = (vm: number): string => String(vm).repeat(32)

/** A cache in which the example is played; all in GB, or what stands for one. */
interface Stage {
  reserve(vm: number, size: number): Promise<number>
  suspend(vm: number, size: number): Promise<void>
  resume(vm: number): Promise<void>
  /** A log gives up so much. */
  free(size: number): Promise<void>
  /** What disks have. */
  cached(): number
  figures(): { size: number; reserved: number; free: number }
}

async function play(stage: Stage): Promise<void> {
  for (const vm of VMS) if (RESERVED[vm] !== undefined) expect(await stage.reserve(vm, RESERVED[vm])).toBe(RESERVED[vm])
  expect(stage.figures()).toEqual({ size: 72, reserved: 18, free: 0 })
  const before = stage.cached()

  await stage.suspend(1, 4)
  expect(before - stage.cached()).toBe(4)
  expect(stage.figures()).toEqual({ size: 68, reserved: 14, free: 0 })

  await stage.free(6)
  const cached = stage.cached()
  await stage.suspend(2, 6)
  expect(stage.cached()).toBe(cached)
  expect(stage.figures()).toEqual({ size: 62, reserved: 8, free: 0 })

  await stage.resume(1)
  await stage.resume(2)
  expect(stage.figures()).toEqual({ size: 72, reserved: 18, free: 10 })
}

let cache: TestCheckpoints | undefined
afterEach(async () => {
  await cache?.end()
  cache = undefined
})

test('with real streams, a megabyte for each gigabyte', async () => {
  const opened = (cache = await TestCheckpoints.create([72]))
  for (const vm of VMS) opened.addDisk(`vm${vm}/vda`, 12)
  // What fills `size` chunks, with the attributes.
  const stream = (vm: number, size: number): Buffer => stamped(size * dataBytesOf(CHUNK_BYTES) - 4096, vm)
  const sizes = new Map<number, number>()
  await play({
    reserve: async (vm, size) =>
      (await opened.checkpoints.reserve(uuid(vm), size * CHUNK_BYTES, { bestEffort: false })) / CHUNK_BYTES,
    async suspend(vm, size) {
      sizes.set(vm, size)
      const bytes = stream(vm, size)
      await opened.write(opened.source(id(vm), { vm: uuid(vm), bytes: bytes.length }), bytes)
    },
    async resume(vm) {
      const size = sizes.get(vm)!
      expect((await opened.read(id(vm))).equals(stream(vm, size))).toBe(true)
      await opened.checkpoints.deleteCheckpoint(id(vm))
      await opened.checkpoints.reserve(uuid(vm), size * CHUNK_BYTES, { bestEffort: false })
    },
    free: (size) => opened.disks[0]!.giver().limit(opened.disks[0]!.held.length - size),
    cached: () => opened.figures.disk,
    figures: () => ({
      size: 72 - opened.figures.checkpoint,
      reserved: opened.figures.reserved,
      free: opened.figures.free,
    }),
  })
})

describe('with the chunks of 72 GB', () => {
  const CHUNK = 16 * 2 ** 20
  const PER_GB = 2 ** 30 / CHUNK

  test('every number is right', async () => {
    const device = new SparseDevice(FIRST_CHUNK_OFFSET + 72 * 2 ** 30)
    const settings = { name: 'fast', blockBytes: 4096, chunkBytes: CHUNK, hostId: '0'.repeat(32) }
    await formatDevices([device], settings, { random: new SeededRandom(1), clock: systemClock })
    const pool = await Pool.open([device], { allowMissing: false })
    const disks = VMS.map((vm) => new TestDisk(`vm${vm}/vda`, () => pool))
    for (const disk of disks) disk.grow(12 * PER_GB)
    const checkpoints = new Checkpoints({
      name: 'fast',
      pool,
      clock: systemClock,
      medium: () => Promise.resolve(device),
      givers: () => Promise.resolve(disks.map((disk) => disk.giver())),
      heldBack: () => disks.reduce((sum, { floor }) => sum + floor, 0),
      collect: () => Promise.resolve(),
      freed: () => undefined,
    })
    const reserve = async (vm: number, size: number): Promise<number> =>
      (await checkpoints.reserve(uuid(vm), size * 2 ** 30, { bestEffort: false })) / 2 ** 30
    const locked = new Map<number, ReturnType<Pool['takeForObject']>[]>()
    await play({
      reserve,
      async suspend(vm, size) {
        const limits = limitsOf(
          disks.map((disk) => disk.giver()),
          Math.max(0, size * PER_GB - pool.chunksForObjects),
        )!
        for (const [giver, count] of limits) await giver.limit(count)
        await checkpoints.reserve(uuid(vm), 0, { bestEffort: false })
        locked.set(
          vm,
          Array.from({ length: size * PER_GB }, () => pool.takeForObject()),
        )
      },
      async resume(vm) {
        const places = locked.get(vm)!
        pool.giveOfObject(places.map((place) => place!))
        await reserve(vm, places.length / PER_GB)
      },
      free: (size) => disks[0]!.giver().limit(disks[0]!.held.length - size * PER_GB),
      cached: () => (pool.heldChunks - pool.objectChunks) / PER_GB,
      figures: () => ({
        size: (pool.totalChunks - pool.objectChunks) / PER_GB,
        reserved: pool.reservations.total / PER_GB,
        free: pool.freeChunks / PER_GB,
      }),
    })
  })
})
