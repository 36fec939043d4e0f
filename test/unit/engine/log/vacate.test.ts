/** A log that leaves a device: what is there is moved, dropped or waits until the origin has it; what is written goes elsewhere. */
import { expect, test } from 'vitest'
import { TestLog } from './test-log.js'

/** Hands out no chunk of the device, as the pool does while one is removed. */
function retire(test: TestLog, deviceIndex: number): { readonly given: () => number } {
  const { source } = test
  let given = 0
  const hide = (): void => {
    const kept = source.free.filter((chunk) => chunk.deviceIndex !== deviceIndex)
    given += source.free.length - kept.length
    source.free.splice(0, source.free.length, ...kept)
  }
  const give = source.give.bind(source)
  source.give = (chunk) => {
    give(chunk)
    hide()
  }
  hide()
  given = 0
  return { given: () => given }
}

const chunksOn = (test: TestLog, deviceIndex: number): number =>
  test.log.chunks.filter(({ chunk }) => chunk.deviceIndex === deviceIndex).length

/** Asks until nothing is left there; fails where that takes too often. */
async function vacate(test: TestLog, deviceIndex: number): Promise<number> {
  for (let asked = 1; asked < 100; asked++) {
    if ((await test.run(test.log.vacate(deviceIndex))) === 0) return asked
    await test.idle()
  }
  throw new Error('it never leaves')
}

test('its chunks are given back, the newest pages stay', async () => {
  const log = await TestLog.create({
    devices: [8, 16],
    // Everything is hot.
    replacement: { inserted: () => 1, hit: (heat) => heat, reclaimed: (_, heat) => heat, resized: () => {} },
  })
  await log.fillChunks(0, 1, 5)
  for (let page = 0; page < 10; page++) await log.write(page, 2)
  await log.idle()
  const device = log.log.chunks[0]!.chunk.deviceIndex
  const before = chunksOn(log, device)
  expect(before).toBeGreaterThan(3)
  const { given } = retire(log, device)
  await vacate(log, device)
  expect([chunksOn(log, device), given()]).toEqual([0, before])
  for (let page = 0; page < 10; page++) expect(await log.read(page)).toBe(2)
  expect(await log.read(60)).toBe(1)

  // It can be opened without the device.
  await log.commit()
  await log.powerCut()
  await log.open()
  expect(chunksOn(log, device)).toBe(0)
  for (let page = 0; page < 10; page++) expect(await log.read(page)).toBe(2)
})

test('what is dirty there stays there until the origin has it', async () => {
  const log = await TestLog.create({ devices: [8, 16] })
  await log.write(0, 1)
  await log.run(log.log.setWriteBack(true))
  for (let page = 0; page < 40; page++) await log.write(page, 3)
  await log.idle()
  const device = log.log.chunks.at(-1)!.chunk.deviceIndex
  retire(log, device)
  for (let asked = 0; asked < 5; asked++) {
    expect(await log.run(log.log.vacate(device))).toBeGreaterThan(0)
    await log.idle()
  }
  // What is written from now on is elsewhere.
  const { writtenLsn } = log.log
  await log.write(100, 4)
  expect(log.log.chunks.at(-1)!.chunk.deviceIndex).not.toBe(device)
  for (let page = 0; page < 40; page++) expect(await log.read(page)).toBe(3)

  await log.commit()
  log.log.settle(writtenLsn, 0)
  await vacate(log, device)
  expect(await log.read(100)).toBe(4)
  expect(log.log.dirtyBytes).toBeGreaterThan(0)
  await log.run(log.log.closeDirty())
  await log.powerCut()
  await log.open()
  expect(log.plan.dirtyBytes).toBeGreaterThan(0)
  expect(await log.read(100)).toBe(4)
})

test('a log that was not asked to leave after all appends there again', async () => {
  const log = await TestLog.create({ devices: [16] })
  await log.fillChunks(0, 1, 2)
  const open = log.log.chunks.at(-1)!
  void log.log.vacate(0)
  await log.idle()
  log.log.readmit(0)
  const next = log.log.chunks.at(-1)!
  expect(next).not.toBe(open)
  await log.write(500, 2)
  expect(log.log.chunks.at(-1)).toBe(next)
})
