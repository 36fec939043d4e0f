/** What a scrub reads of a log, and what it does about what is bad. */
import { expect, test } from 'vitest'
import { NOWHERE } from '../../../../src/engine/index/page-table.js'
import {
  SCRUB_START,
  scrubSlice,
  type ScrubPosition,
  type ScrubSlice,
} from '../../../../src/engine/scrub/scrub-slice.js'
import { SECTOR_BYTES } from '../../../../src/model/geometry.js'
import { TestLog } from '../log/test-log.js'

interface Scrubbed {
  readonly pages: number
  readonly bad: number[]
  readonly damaged: number[]
  readonly slices: number
}

async function scrub(test: TestLog, between: () => Promise<void> = async () => {}): Promise<Scrubbed> {
  let result: Scrubbed = { pages: 0, bad: [], damaged: [], slices: 0 }
  for (let position: ScrubPosition | null = SCRUB_START; position !== null;) {
    const slice: ScrubSlice = await test.run(
      scrubSlice(test.log, position, async (index) => test.devices[index]!, test.counters),
    )
    result = {
      pages: result.pages + slice.pages,
      bad: [...result.bad, ...slice.bad],
      damaged: [...result.damaged, ...slice.damaged],
      slices: result.slices + 1,
    }
    position = slice.next
    await between()
  }
  return result
}

/** Flips a bit of what is stored of a page. */
function rot(test: TestLog, page: number): void {
  const { log } = test
  const location = log.table.find(page)
  const { chunk, columns } = log.slots[Math.floor(location / log.entriesPerChunk)]!
  const unit = columns.unit[location % log.entriesPerChunk]!
  test.devices[chunk.deviceIndex]!.flip(chunk.offset + unit * SECTOR_BYTES + 100)
}

test('every page that a read would find is read once, on all devices', async () => {
  const log = await TestLog.create({ devices: [4, 8] })
  await log.fillChunks(0, 1, 7)
  expect(new Set(log.log.chunks.map(({ chunk }) => chunk.deviceIndex))).toEqual(new Set([0, 1]))
  // Versions that nobody reads any more are left out.
  for (let page = 0; page < 20; page++) await log.write(page, 2)
  await log.idle()
  expect(await scrub(log)).toMatchObject({ pages: log.log.table.size, bad: [], damaged: [] })
  expect(log.counters.badPages).toBe(0)
})

test('what is not on stable storage yet is left out', async () => {
  const log = await TestLog.create()
  await log.write(1, 1)
  const first = await log.run(scrubSlice(log.log, SCRUB_START, async (index) => log.devices[index]!, log.counters))
  expect(first.pages).toBe(1)
  await log.write(2, 1)
  await log.idle()
  const again = { sequence: 0, ordinal: 0, lastSequence: log.log.chunks.at(-1)!.sequence }
  const slice = await log.run(scrubSlice(log.log, again, async (index) => log.devices[index]!, log.counters))
  expect(slice).toMatchObject({ pages: 1, next: { sequence: again.lastSequence + 1 } })
  expect(log.log.table.size).toBe(2)
})

test('a clean page that is bad is forgotten, and no other', async () => {
  const log = await TestLog.create()
  await log.fillChunks(0, 1, 3)
  const before = log.log.table.size
  for (const page of [3, 40]) rot(log, page)
  expect(await scrub(log)).toMatchObject({ pages: before, bad: [3, 40], damaged: [] })
  expect(log.log.table.size).toBe(before - 2)
  expect([log.log.table.find(3), log.log.table.find(40)]).toEqual([NOWHERE, NOWHERE])
  expect(await scrub(log)).toMatchObject({ pages: before - 2, bad: [] })
  expect(log.counters.badPages).toBe(2)
})

test('D5: a dirty page that is bad stays what it is: an error to whoever reads it, never the older one of the origin', async () => {
  const log = await TestLog.create()
  await log.write(1, 1)
  await log.run(log.log.setWriteBack(true))
  await log.write(7, 1)
  await log.write(8, 1)
  await log.idle()
  rot(log, 7)
  expect(await scrub(log)).toMatchObject({ pages: 3, bad: [], damaged: [7] })
  expect(log.log.table.find(7)).not.toBe(NOWHERE)
  expect(log.log.isDirty(log.log.table.find(7))).toBe(true)
})

test('a page that is written anew while it is read is not forgotten', async () => {
  const log = await TestLog.create()
  await log.fill(5, 1)
  await log.idle()
  rot(log, 5)
  const slice = scrubSlice(
    log.log,
    SCRUB_START,
    async (index) => {
      await log.write(5, 2)
      return log.devices[index]!
    },
    log.counters,
  )
  expect(await log.run(slice)).toMatchObject({ bad: [], damaged: [] })
  expect(await log.read(5)).toBe(2)
})

test('it ends although pages are written all the time', async () => {
  const log = await TestLog.create()
  let next = await log.fillChunks(0, 1, 3)
  const pages = log.log.table.size
  const scrubbed = await scrub(log, async () => void (next = await log.fillChunks(next, 1, 1)))
  // The chunk that was open when it began was filled meanwhile.
  expect(scrubbed.pages).toBeGreaterThanOrEqual(pages - 1)
  expect(scrubbed.pages).toBeLessThan(log.log.table.size)
})
