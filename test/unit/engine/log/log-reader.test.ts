import { expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { NOWHERE } from '../../../../src/engine/index/page-table.js'
import { LogReader } from '../../../../src/engine/log/log-reader.js'
import { dataExtent } from '../../../../src/engine/log/staged-extent.js'
import { TestLog } from './test-log.js'

const PAGE = 4096
const SECTOR = 512

/** Reads from a device that has all of it at hand; also says what lengths it was asked for. */
function read(test: TestLog, start: number, length: number): { hit: boolean; reads: number[]; data: Buffer } {
  const device = test.devices[0]!
  const reads: number[] = []
  device.tryRead = (offset, target, at, bytes) => {
    reads.push(bytes)
    device.bytes.copy(target, at, offset, offset + bytes)
    return true
  }
  const target = Buffer.alloc(length + 8, 0xee)
  const hit = new LogReader().tryRead(test.log, test.counters, start, length, target, 4)
  if (hit) expect([target.readUInt32LE(0), target.readUInt32LE(length + 4)]).toEqual([0xeeeeeeee, 0xeeeeeeee])
  return { hit, reads, data: target.subarray(4, length + 4) }
}

/** Damages the stored data of a page. */
function damage(test: TestLog, page: number): void {
  const location = test.log.table.find(page)
  const chunk = test.log.slots[(location / test.log.entriesPerChunk) | 0]!
  const unit = chunk.columns.unit[location % test.log.entriesPerChunk]!
  test.damage({ device: 0, offset: chunk.chunk.offset }, unit * SECTOR + 1234)
}

test('pages that lie back to back are read and verified at once, where they are wanted', async () => {
  const log = await TestLog.create()
  await log.fill(100, 7, 16)
  const { hit, reads, data } = read(log, 100 * PAGE, 16 * PAGE)
  expect({ hit, reads }).toEqual({ hit: true, reads: [16 * PAGE] })
  expect(data.equals(Buffer.alloc(16 * PAGE, 7))).toBe(true)
  expect(log.counters.deviceReadBytes).toBe(16 * PAGE)
})

test('another frame, an overwritten page and a page that is stored in part end a run', async () => {
  const log = await TestLog.create()
  await log.fill(0, 1, 4)
  await log.fill(4, 2, 4)
  expect(read(log, 0, 8 * PAGE).reads).toEqual([4 * PAGE, 4 * PAGE])
  await log.write(2, 3)
  expect(read(log, 0, 8 * PAGE).reads).toEqual([2 * PAGE, PAGE, PAGE, 4 * PAGE])
  log.log.stageCopy(dataExtent(8, 1, 0b0000_1111, Buffer.alloc(4 * SECTOR, 4)))
  await log.run(log.log.appended())
  expect(read(log, 7 * PAGE, PAGE + 4 * SECTOR).reads).toEqual([PAGE, 4 * SECTOR])
  expect(read(log, 7 * PAGE, PAGE + 5 * SECTOR)).toMatchObject({ hit: false, reads: [] })
})

test('a bad page among others is forgotten, alone', async () => {
  const log = await TestLog.create()
  await log.fill(50, 9, 12)
  damage(log, 53)
  damage(log, 61)
  expect(read(log, 50 * PAGE, 12 * PAGE).hit).toBe(false)
  expect(log.counters.badPages).toBe(2)
  const known = Array.from({ length: 12 }, (_, index) => log.log.table.find(50 + index) !== NOWHERE)
  expect(known).toEqual(Array.from({ length: 12 }, (_, index) => index !== 3 && index !== 11))
  expect(read(log, 50 * PAGE, 3 * PAGE).hit).toBe(true)
})

test('what is not there as a whole is not read at all', async () => {
  const log = await TestLog.create()
  await log.fill(0, 1, 8)
  expect(read(log, 0, 9 * PAGE)).toMatchObject({ hit: false, reads: [] })
  expect(read(log, 0, 64 * 1024 * PAGE)).toMatchObject({ hit: false, reads: [] })
})

test('every page that was read is hot', async () => {
  const log = await TestLog.create({
    replacement: { inserted: () => 1, hit: (heat) => heat + 1, reclaimed: () => -1, resized: () => {} },
  })
  await log.fill(0, 1, 4)
  await log.fill(4, 1, 4)
  read(log, PAGE + SECTOR, 5 * PAGE)
  const heats = Array.from({ length: 8 }, (_, page) => {
    const location = log.log.table.find(page)
    return log.log.slots[(location / log.log.entriesPerChunk) | 0]!.columns.heat[location % log.log.entriesPerChunk]
  })
  expect(heats).toEqual([1, 2, 2, 2, 2, 2, 2, 1])
})

test('any range of a log that was written in any way reads as what was written', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new SeededRandom(seed)
    const log = await TestLog.create({ seed, devices: [32] })
    const pages = 64
    const model = Buffer.alloc(pages * PAGE)
    const stored = new Uint8Array(pages)
    for (let step = 0; step < 60; step++) {
      const page = random.below(pages)
      const count = 1 + random.below(Math.min(8, pages - page))
      if (random.below(6) === 0) {
        await log.mark('invalid', page, count)
        stored.fill(0, page, page + count)
        continue
      }
      const map = count === 1 && random.below(3) === 0 ? 0b0011_1100 : 0xff
      const length = map === 0xff ? count * PAGE : 4 * SECTOR
      const data = Buffer.alloc(length)
      for (let at = 0; at < length; at += SECTOR) data.fill(random.below(256), at, at + SECTOR)
      log.log.stageCopy(dataExtent(page, count, map, data))
      await log.run(log.log.appended())
      data.copy(model, page * PAGE + (map === 0xff ? 0 : 2 * SECTOR))
      stored.fill(map, page, page + count)
    }
    for (let turn = 0; turn < 300; turn++) {
      const first = random.below(pages * 8)
      const sectors = 1 + random.below(pages * 8 - first)
      const isStored = Array.from({ length: sectors }, (_, index) => first + index).every(
        (sector) => (stored[sector >>> 3]! & (1 << (sector & 7))) !== 0,
      )
      const { hit, data } = read(log, first * SECTOR, sectors * SECTOR)
      expect(hit, `seed ${seed}`).toBe(isStored)
      if (hit)
        expect(data.equals(model.subarray(first * SECTOR, (first + sectors) * SECTOR)), `seed ${seed}`).toBe(true)
    }
  }
})
