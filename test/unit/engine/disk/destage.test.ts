/** The destage of one log, without the disk around it. */
import { expect, onTestFinished, test } from 'vitest'
import { Destage } from '../../../../src/engine/disk/destage.js'
import { Fills } from '../../../../src/engine/disk/fills.js'
import { RangeLocks } from '../../../../src/engine/disk/range-locks.js'
import type { DestageOrder } from '../../../../src/model/write-back.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../../../src/model/geometry.js'
import { SimulatedOrigin } from '../../../support/simulation/simulated-origin.js'
import { TestLog } from '../log/test-log.js'

const SECTORS = PAGE_BYTES / SECTOR_BYTES
const ignore = (): void => undefined

interface World {
  readonly test: TestLog
  readonly origin: SimulatedOrigin
  readonly destage: Destage
}

/** A log in write-back that is destaged at once. */
async function newWorld(order: DestageOrder = 'ordered'): Promise<World> {
  const test = await TestLog.create({ devices: [64] })
  await test.run(test.log.setWriteBack(true))
  const origin = new SimulatedOrigin(2 ** 30, test.scheduler, test.random)
  const destage = new Destage({
    name: 'disk',
    log: test.log,
    origin,
    phaseBytes: 0,
    clock: test.scheduler,
    locks: new RangeLocks(),
    fills: new Fills(),
    limits: () => ({ lowBytes: 0, highBytes: 2 ** 30, ageMilliseconds: 0 }),
    settings: () => ({ order, barrier: 'flush' }),
    guestAt: () => 0,
    written: ignore,
    passedBarriers: ignore,
    onSettled: ignore,
    onTrouble: ignore,
    onDamage: (error) => expect.unreachable(error.message),
  })
  onTestFinished(async () => {
    if (test.log.failure === undefined) await test.run(destage.stop())
  })
  return { test, origin, destage }
}

test('whoever waits for a destage that is over hears of it', async () => {
  const { test, origin, destage } = await newWorld()
  origin.hang()
  await test.write(1, 1)
  const waiting = destage.drain()
  waiting.catch(ignore)
  const stopping = destage.stop()
  origin.mend()
  await test.run(stopping)
  await test.write(2, 2)
  await expect(test.run(destage.drain())).rejects.toThrow('the destage of disk disk was stopped')
})

/** Flips a bit of the newest version of a page. */
function rot({ log, devices }: TestLog, page: number): void {
  const location = log.table.find(page)
  const chunk = log.slots[Math.floor(location / log.entriesPerChunk)]!
  const unit = chunk.columns.unit[location % log.entriesPerChunk]!
  devices[0]!.flip(chunk.chunk.offset + unit * SECTOR_BYTES)
}

test('a page that the origin refuses, and whose newest version is damaged, is lost and holds nothing up', async () => {
  const { test, origin, destage } = await newWorld()
  for (const page of [1, 2, 1, 3]) await test.write(page, page)
  origin.refuse(1 * SECTORS, SECTORS)
  rot(test, 1)
  await test.run(destage.drain())
  expect([...test.log.badPages]).toEqual([1])
  expect([origin.idAt(2 * SECTORS), origin.idAt(3 * SECTORS)]).toEqual([0x02020202, 0x03030303])
})

test('a page that is damaged while the origin refuses it is lost and holds nothing up', async () => {
  const { test, origin, destage } = await newWorld()
  for (const page of [1, 2]) await test.write(page, page)
  origin.refuse(1 * SECTORS, SECTORS)
  const drained = destage.drain()
  // It has been read, and is being sent.
  while (origin.idAt(2 * SECTORS) === 0) await test.scheduler.step()
  rot(test, 1)
  await test.run(drained)
  expect([...test.log.badPages]).toEqual([1])
})

test('an origin that fails one write in five gets all of a large span, and nothing of it is stuck in the end', async () => {
  const { test, origin, destage } = await newWorld('relaxed')
  origin.failWrites = 5
  const runs = Array.from({ length: 40 }, (_, index) => index + 1)
  for (const run of runs) await test.write(run * 100, run, { count: 32 })
  while (test.log.dirtyBytes > 0) await test.run(destage.drain())
  for (const run of runs)
    for (let page = run * 100; page < run * 100 + 32; page++) expect(origin.idAt(page * SECTORS)).toBe(0x01010101 * run)
  expect(destage.stuckPages).toBe(0)
})
