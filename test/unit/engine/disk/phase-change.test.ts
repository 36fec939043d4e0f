/** A disk takes up the phase that its first requests ask for, while they go on; on a simulated device and origin, from a seed. */
import { expect, test } from 'vitest'
import type { Disk } from '../../../../src/engine/disk/disk.js'
import { CHUNKS, openSimulatedDisk, type SimulatedDisk } from '../../../support/simulation/simulated-disk.js'
import { stampOf, stamped } from '../../../support/simulation/simulated-origin.js'

const SECTOR = 512
const PAGE = 4096
const PAGES = 200
/** Where the guest's file system begins. */
const START = 63 * SECTOR

const DISK = { diskBytes: START + PAGES * PAGE }

/**
 * A guest with a file system at sector 63 that keeps some requests under way, never two for one page of its own: what it reads is what it
 * wrote last. Each of `writes` holds the id that the page has.
 */
async function guest({ random, disk }: SimulatedDisk, requests: number, writes: Map<number, number>): Promise<void> {
  const busy = new Set<number>()
  let left = requests
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const page = random.below(PAGES)
      if (busy.has(page)) continue
      busy.add(page)
      const offset = START + page * PAGE
      const kind = random.below(20)
      if (kind < 9) {
        const id = requests * 1000 + left + 1
        await disk.write(offset, stamped(PAGE, id), kind === 0)
        writes.set(page, id)
      } else if (kind < 19) await check(disk, page, writes.get(page) ?? 0)
      else await disk.flush()
      busy.delete(page)
    }
  }
  await Promise.all(Array.from({ length: 12 }, worker))
}

async function check(disk: Disk, page: number, id: number): Promise<void> {
  const data = Buffer.alloc(PAGE)
  const offset = START + page * PAGE
  if (!disk.tryRead(offset, PAGE, data, 0)) await disk.read(offset, PAGE, data, 0)
  for (let at = 0; at < PAGE; at += SECTOR) expect(stampOf(data, at)).toBe(id)
}

async function checkAll(world: SimulatedDisk, writes: ReadonlyMap<number, number>): Promise<void> {
  for (let page = 0; page < PAGES; page++) await world.run(check(world.opened.disk, page, writes.get(page) ?? 0))
  for (const [page, id] of writes) expect(world.origin.idAt(START / SECTOR + page * 8)).toBe(id)
  expect(world.origin.overlaps).toBe(0)
}

test.for(Array.from({ length: 8 }, (_, seed) => seed + 1))(
  'every read finds what was written last while the phase changes, seed %i',
  async (seed) => {
    const world = await openSimulatedDisk(seed, DISK)
    const writes = new Map<number, number>()
    await world.run(guest(world, 3000, writes))
    expect(world.opened.phases).toEqual([0, 1])
    expect(world.opened.disk.log?.identity.phase).toBe(1)
    expect(world.opened.disk.state).toBe('serving')
    await checkAll(world, writes)
    await world.run(world.opened.disk.close({ keepLog: false }))
    // Nothing of either log is left behind.
    expect(world.opened.freeChunks).toBe(CHUNKS)
  },
)

test('a log that was there before keeps its phase', async () => {
  const world = await openSimulatedDisk(1, { ...DISK, recovered: true })
  const writes = new Map<number, number>()
  await world.run(guest(world, 3000, writes))
  expect(world.opened.phases).toEqual([0])
  await checkAll(world, writes)
})

/** As many requests as are looked at, in no time. */
async function guestReads({ opened }: SimulatedDisk): Promise<void> {
  for (let first = 0; first < 1000; first += 100) {
    const pages = Array.from({ length: 100 }, (_, index) => 1 + (((first + index) * 7) % (PAGES - 1)))
    await Promise.all(pages.map((page) => opened.disk.read(START + page * PAGE, PAGE, Buffer.alloc(PAGE), 0)))
  }
}

test('a disk changes its phase once, whatever its guest does later', async () => {
  const world = await openSimulatedDisk(1, DISK)
  await world.run(guestReads(world))
  const data = Buffer.alloc(PAGE)
  for (let request = 0; request < 1100; request++)
    await world.run(world.opened.disk.read(((request * 7) % 100) * PAGE, PAGE, data, 0))
  expect(world.opened.phases).toEqual([0, 1])
})

test('the phase does not change under a read that waits for its origin', async () => {
  const world = await openSimulatedDisk(1, DISK)
  const { opened, origin, scheduler } = world
  await world.run(opened.disk.write(START, stamped(PAGE, 7), false))
  await world.run(opened.disk.invalidate())
  const read = origin.read.bind(origin)
  let answer = (): void => undefined
  const answered = new Promise<void>((resolve) => (answer = resolve))
  origin.read = (offset, target) => (offset <= START ? answered : Promise.resolve()).then(() => read(offset, target))
  const waiting = check(opened.disk, 0, 7)
  const others = guestReads(world)
  for (let step = 0; step < 20_000; step++) await scheduler.step()
  expect(opened.phases).toEqual([0])
  answer()
  await world.run(Promise.all([waiting, others]))
  await world.run(check(opened.disk, 0, 7))
  expect(opened.phases).toEqual([0, 1])
})

test('an origin that cannot be flushed leaves the phase as it is, and the guest hears of it', async () => {
  const world = await openSimulatedDisk(1, DISK)
  const { disk, phases } = world.opened
  const { origin } = world
  await world.run(disk.write(START, stamped(PAGE, 1), false))
  // What this page was written with is neither flushed nor cached when the origin loses it.
  await world.run(disk.invalidate())
  origin.reconnect()
  await world.run(guestReads(world))
  expect(phases).toEqual([0])
  await expect(world.run(disk.flush())).rejects.toThrow('no longer cached')
  await world.run(disk.flush())
})

test('a device that fails while the phase changes: the disk goes on from its origin, after the epoch was raised', async () => {
  const outcomes = new Set<string>()
  for (let steps = 0; steps < 40; steps += 4) {
    const world = await openSimulatedDisk(steps + 1, DISK)
    const { opened, device, scheduler } = world
    const writes = new Map<number, number>()
    let left = steps
    let ended = false
    const working = guest(world, 1500, writes).finally(() => (ended = true))
    while (!ended) {
      if (scheduler.idle) await scheduler.advance(100)
      await scheduler.step()
      const isChanging = opened.disk.log === undefined && opened.epoch === 1
      if (isChanging && device.failed === undefined && left-- === 0) device.failed = new Error('the device is gone')
    }
    await working
    await checkAll(world, writes)
    const { disk, epoch } = opened
    expect([disk.state, disk.mode, epoch]).toEqual(
      device.failed === undefined ? ['serving', 'write-through', 1] : ['direct', 'pass-through', 2],
    )
    outcomes.add(disk.state)
  }
  // Some of the changes had ended by then.
  expect([...outcomes].sort()).toEqual(['direct', 'serving'])
})
