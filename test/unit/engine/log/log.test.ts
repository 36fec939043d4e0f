/** A log on a simulated device; what it left there is read by a reader of its own (device-reader.ts). */
import { describe, expect, test } from 'vitest'
import { EXTENT_KIND } from '../../../../src/format/frame.js'
import type { Chunk } from '../../../../src/engine/log/chunk-source.js'
import { PAGES_PER_REGION } from '../../../../src/engine/log/touched-regions.js'
import { dataExtent } from '../../../../src/engine/log/staged-extent.js'
import { flawsOf } from './device-reader.js'
import { CHUNK_BYTES, FIFO, TestLog } from './test-log.js'

const PAGE = 4096

describe.each([
  ['buffered', true, 512],
  ['direct, blocks of 512', false, 512],
  ['direct, blocks of 4096', false, 4096],
])('on a %s device', (_name, buffered, logicalBlockBytes) => {
  const options = { buffered, logicalBlockBytes }

  test('what was written is read; the newest version, and what was marked is gone', async () => {
    const test = await TestLog.create(options)
    await test.write(10, 1, { count: 3 })
    await test.write(11, 2)
    await test.fill(20, 3)
    await test.mark('invalid', 20)
    await test.mark('zero', 12)
    expect([await test.read(10), await test.read(11), await test.read(12)]).toEqual([1, 2, undefined])
    expect(await test.read(20)).toBeUndefined()
    expect(await test.read(99)).toBeUndefined()
    await test.idle()
    expect(flawsOf(test.onDevice)).toEqual([])
  })

  test('frames, chains and positions have no gap, over many chunks of two devices', async () => {
    const test = await TestLog.create({ ...options, devices: [5, 7] })
    for (let round = 0; round < 200; round++) {
      const page = test.random.below(500)
      const kind = test.random.below(6)
      if (kind < 3) await test.write(page, round % 256, { count: 1 + test.random.below(12) })
      else if (kind === 3) await test.fill(page, round % 256, 1 + test.random.below(8))
      else if (kind === 4) await test.mark('touched', test.random.below(4) * PAGES_PER_REGION, PAGES_PER_REGION)
      else await test.commit()
    }
    await test.idle()
    const chunks = test.onDevice
    expect(chunks.length).toBeGreaterThan(8)
    expect(new Set(chunks.map(({ device }) => device)).size).toBe(2)
    expect(flawsOf(chunks)).toEqual([])
    expect(chunks.flatMap(({ frames }) => frames).some(({ lsnUnits }) => lsnUnits > 0)).toBe(true)
  })

  test('frames begin and end on logical blocks, and hold writes or copies, never both', async () => {
    const test = await TestLog.create(options)
    const batch = test.log.stageWrite(dataExtent(1, 1, 0b11, Buffer.alloc(1024, 1)))
    test.log.stageCopy(dataExtent(2, 1, 0xff, Buffer.alloc(PAGE, 2)))
    test.log.stageWrite(dataExtent(3, 2, 0xff, Buffer.alloc(2 * PAGE, 3)))
    await test.run(batch.written())
    const [chunk] = test.onDevice
    const frames = chunk!.frames.slice(-2)
    expect(frames.map(({ kind, extents }) => [kind, extents.map(({ page }) => page)])).toEqual([
      ['copies', [2]],
      ['writes', [1, 3]],
    ])
    for (const { at, bytes } of chunk!.frames)
      expect([at % logicalBlockBytes, bytes % logicalBlockBytes]).toEqual([0, 0])
    // Copies take no positions; the two writes take one unit of headers, two sectors, and sixteen.
    expect(frames.map(({ lsnUnits }) => lsnUnits)).toEqual([0, 19])
  })

  test('a write longer than a chunk goes on in the next', async () => {
    const test = await TestLog.create(options)
    await test.write(0, 7, { count: 80 })
    for (const page of [0, 40, 79]) expect(await test.read(page)).toBe(7)
    await test.idle()
    expect(test.onDevice.length).toBeGreaterThan(2)
    expect(flawsOf(test.onDevice)).toEqual([])
  })
})

describe('answers and positions', () => {
  test('D1: a write is answered only when its frame and every frame before it are written', async () => {
    const test = await TestLog.create({ buffered: false, seed: 7 })
    const answered: number[] = []
    const batches = Array.from({ length: 30 }, (_, page) => {
      const batch = test.log.stageWrite(dataExtent(page, 1, 0xff, Buffer.alloc(PAGE, page + 1)))
      void batch.written().then(() => {
        answered.push(page)
        const pages = test.onDevice.flatMap(({ frames }) =>
          frames.flatMap(({ extents, dataIsGood }) => (dataIsGood ? extents.map((extent) => extent.page) : [])),
        )
        for (let before = 0; before <= page; before++) expect(pages).toContain(before)
      })
      return test.run(page % 7 === 0 ? batch.written() : Promise.resolve())
    })
    await Promise.all(batches)
    await test.idle()
    expect(answered).toHaveLength(30)
  })

  test('settledLsn stops at the oldest write that the origin has not answered', async () => {
    const test = await TestLog.create()
    const first = await test.write(1, 1, { settle: false })
    const second = await test.write(2, 2, { settle: false })
    expect(test.log.settledLsn).toBe(first.firstLsn)
    second.settle()
    expect(test.log.settledLsn).toBe(first.firstLsn)
    first.settle()
    expect(test.log.settledLsn).toBe(second.firstLsn + 9)
  })

  test('settledLsn never passes a write that is still on its way to the device', async () => {
    const test = await TestLog.create({ buffered: false })
    const first = await test.write(1, 1, { settle: false })
    const second = test.log.stageWrite(dataExtent(2, 1, 0xff, Buffer.alloc(PAGE, 2)))
    second.join()
    // Its frame is encoded, the device has not answered.
    while (second.firstLsn === 0) await test.scheduler.step()
    first.settle()
    expect(test.log.settledLsn).toBe(second.firstLsn)
    await test.run(second.written())
    expect(test.log.settledLsn).toBe(second.firstLsn)
  })

  test('mark() writes settledLsn down where it moved, and nothing else', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    const frames = (): number => test.onDevice.flatMap((chunk) => chunk.frames).length
    const before = frames()
    test.log.mark()
    await test.run(test.log.appended())
    expect(frames()).toBe(before + 1)
    expect(test.onDevice.at(-1)!.frames.at(-1)).toMatchObject({ settledLsn: test.log.settledLsn, extents: [] })
    test.log.mark()
    await test.run(test.log.appended())
    expect(frames()).toBe(before + 1)
  })

  test('a frame names what was stable when it was written', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    const last = test.onDevice.at(-1)!.frames.at(-1)!
    await test.commit()
    await test.write(2, 2)
    expect(test.onDevice.at(-1)!.frames.at(-1)!.stableFrame).toBe(last.frame + 1)
  })
})

describe('commit', () => {
  test('D1: what was committed survives the worst power cut, on every device that holds a part of it', async () => {
    const test = await TestLog.create({ devices: [2, 6] })
    await test.write(0, 1, { count: 90 })
    test.log.mark()
    await test.run(test.log.appended())
    await test.commit()
    await test.write(1000, 2)
    await test.powerCutLosingAll()
    const plan = await test.open()
    expect(plan.end).toBe('power-cut')
    for (const page of [0, 45, 89]) expect(await test.read(page)).toBe(1)
    expect(await test.read(1000)).toBeUndefined()
  })

  test('commits that wait share one sync', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    const before = test.devices[0]!.commits
    await test.run(Promise.all(Array.from({ length: 10 }, () => test.log.commit())))
    expect(test.devices[0]!.commits - before).toBeLessThanOrEqual(2)
  })

  test('a sync that fails is not tried again: the log has failed', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    test.devices[0]!.failed = new Error('simulated')
    await expect(test.run(test.log.commit())).rejects.toThrow('simulated')
    test.devices[0]!.failed = undefined
    await expect(test.run(test.log.commit())).rejects.toThrow('simulated')
    await expect(test.run(test.log.appended())).rejects.toThrow('simulated')
    expect(test.failure?.message).toBe('simulated')
  })
})

describe('chunks', () => {
  test('at most four of them are unsealed at any time', async () => {
    const test = await TestLog.create({ buffered: false, devices: [40] })
    let most = 0
    for (let page = 0; page < 800; page += 10) {
      const batch = test.log.stageWrite(dataExtent(page, 10, 0xff, Buffer.alloc(10 * PAGE, 1)))
      batch.join()
      let written = false
      void batch.written().then(() => (written = true))
      while (!written) {
        await test.scheduler.step()
        most = Math.max(most, test.log.chunks.filter(({ state }) => state !== 'sealed').length)
      }
      batch.settle()
    }
    expect(test.log.chunks.length).toBeGreaterThan(25)
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(4)
  })

  test('a summary is written only when all that it speaks of is stable', async () => {
    const test = await TestLog.create({ devices: [40] })
    for (let page = 0; page < 400; page++) await test.write(page, 1)
    // Sealing goes on beside the writes; whatever is sealed now survives losing all that was not committed.
    const sealed = test.onDevice.filter(({ trailer }) => trailer !== undefined)
    expect(sealed.length).toBeGreaterThan(5)
    const summaries = sealed.map(({ trailer }) => trailer)
    await test.powerCutLosingAll()
    const after = test.onDevice
    for (const [index, chunk] of sealed.entries()) {
      const found = after.find(({ sequence }) => sequence === chunk.sequence)!
      expect(found.end).toBe(summaries[index]!.endOffset)
      expect(found.frames.every(({ dataIsGood }) => dataIsGood)).toBe(true)
    }
  })

  test('every touched region stands in the first frame of each chunk, until it is quiet', async () => {
    const test = await TestLog.create()
    const region = (number: number): [number, number] => [number * PAGES_PER_REGION, PAGES_PER_REGION]
    await test.mark('touched', ...region(3))
    await test.mark('touched', ...region(4))
    await test.mark('touched', ...region(9))
    const page = await test.fillChunks(0, 1, 2)
    const snapshot = (): unknown =>
      test.onDevice.at(-1)!.frames[0]!.extents.map(({ kind, page, count }) => [kind, page, count])
    expect(snapshot()).toEqual([
      ['touched', 3 * PAGES_PER_REGION, 2 * PAGES_PER_REGION],
      ['touched', ...region(9)],
    ])
    await test.mark('quiet', ...region(4))
    await test.mark('quiet', ...region(9))
    await test.fillChunks(page, 1, 1)
    expect(snapshot()).toEqual([['touched', ...region(3)]])
  })

  test('a chunk has room for its snapshot, however many regions are touched', async () => {
    const test = await TestLog.create({ devices: [40] })
    const regions = Array.from({ length: 200 }, (_, index) => 2 * index)
    for (const region of regions) await test.mark('touched', region * PAGES_PER_REGION, PAGES_PER_REGION)
    const before = test.log.chunks.length
    for (let page = 0; test.log.chunks.length < before + 2; page++) await test.fill(page, 1)
    await test.idle()
    const snapshot = test.onDevice.at(-1)!.frames[0]!.extents
    for (const region of regions) {
      const page = region * PAGES_PER_REGION
      expect(snapshot.some((extent) => extent.page <= page && page < extent.page + extent.count)).toBe(true)
    }
    expect(flawsOf(test.onDevice)).toEqual([])
  })
})

describe('reclaim', () => {
  test('D3: a chunk is given back only when a free header with a new generation is on stable storage', async () => {
    const test = await TestLog.create({ devices: [8] })
    const lives = new Map<number, number>()
    const taken: boolean[] = []
    test.source.onTake = ({ index, offset, device }) => {
      // What a power cut would leave of the header, seen without one.
      const before = lives.get(index)
      if (before === undefined) return
      const header = (device as (typeof test.devices)[number]).stableBytes(offset, 4096)
      taken.push(header[10] === 1 && Number(header.readBigUInt64LE(32)) > before)
    }
    for (let page = 0; page < 600; page++) {
      await test.write(page, 1)
      for (const { chunk, generation } of test.log.chunks) {
        expect(generation).toBeGreaterThanOrEqual(lives.get(chunk.index) ?? 0)
        lives.set(chunk.index, generation)
      }
    }
    expect(taken.length).toBeGreaterThan(8)
    expect(taken.every(Boolean)).toBe(true)
  })

  test('a generation of a chunk is never used again, through power cuts', async () => {
    const test = new TestLog({ devices: [8] })
    const used = new Map<number, number[]>()
    for (let life = 0; life < 4; life++) {
      await test.open()
      for (let page = 0; page < 150; page++) {
        await test.write(page, life)
        const { chunk, generation } = test.log.chunks.at(-1)!
        const generations = used.get(chunk.index) ?? []
        if (generations.at(-1) !== generation) generations.push(generation)
        used.set(chunk.index, generations)
      }
      await test.powerCut()
    }
    for (const generations of used.values())
      expect(generations).toEqual([...new Set(generations)].sort((a, b) => a - b))
  })

  test('only the oldest chunk goes, and only below settledLsn', async () => {
    const test = await TestLog.create({ devices: [40] })
    const held = await test.write(0, 1, { settle: false })
    await test.fillChunks(100, 2, 4)
    const sequences = (): number[] => test.log.chunks.map(({ sequence }) => sequence)
    const before = sequences()
    await test.run(test.log.shrink(2))
    expect(sequences()).toEqual(before)
    held.settle()
    await test.run(test.log.shrink(2))
    expect(sequences()).toEqual(before.slice(-2))
    expect(await test.read(0)).toBeUndefined()
    await test.idle()
    expect(flawsOf(test.onDevice)).toEqual([])
  })

  test('D6: what stays is verified, and carries its checksum along; a bad page is not copied on', async () => {
    const keepAll = { ...FIFO, reclaimed: (_page: number, heat: number) => heat }
    const test = await TestLog.create({ devices: [40], replacement: keepAll })
    await test.write(1, 11)
    await test.write(2, 22)
    await test.fillChunks(100, 3, 3)
    const [oldest] = test.onDevice
    const frame = oldest!.frames.find(({ extents }) => extents[0]?.page === 2)!
    test.damage(oldest!, frame.at + 512 + 100)
    await test.run(test.log.shrink(test.log.chunkCount - 1))
    expect(await test.read(1)).toBe(11)
    expect(await test.read(2)).toBeUndefined()
    expect(test.counters.badPages).toBe(1)
    await test.idle()
    expect(flawsOf(test.onDevice)).toEqual([])
    const again = test.onDevice.flatMap(({ frames }) => frames).filter(({ kind }) => kind === 'copies')
    expect(again.flatMap(({ extents }) => extents).filter(({ page }) => page === 2)).toEqual([])
  })

  test('a full log goes on for ever in the chunks that it has', async () => {
    const test = await TestLog.create({ devices: [8], replacement: { ...FIFO, reclaimed: (_page, heat) => heat } })
    for (let round = 0; round < 1000; round++) await test.write(round % 300, round % 256)
    await test.idle()
    expect(test.log.chunkCount).toBeLessThanOrEqual(8)
    expect(await test.read(999 % 300)).toBe(999 % 256)
    expect(flawsOf(test.onDevice)).toEqual([])
  })
})

describe('ends', () => {
  test('a log that was given back leaves only free chunks', async () => {
    const test = await TestLog.create()
    await test.fillChunks(0, 1, 3)
    await test.run(test.log.destroy())
    expect(test.onDevice).toEqual([])
    expect(test.source.free).toHaveLength(16)
    await test.powerCutLosingAll()
    expect((await test.open()).end).toBe('empty')
  })

  test('nothing is appended to a closed log', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    await test.run(test.log.close())
    await expect(test.run(test.log.appended())).rejects.toThrow('closed')
    const frame = test.onDevice.at(-1)!.frames.at(-1)!
    expect(frame.flags & 4).toBe(4)
  })

  test('D6: a page whose bytes changed on the device is a miss, and counted', async () => {
    const test = await TestLog.create()
    await test.write(5, 1)
    const chunk = test.onDevice[0]!
    const frame = chunk.frames.at(-1)!
    expect(frame.extents[0]).toMatchObject({ kind: 'data', page: 5 })
    test.damage(chunk, frame.at + 512)
    expect(await test.read(5)).toBeUndefined()
    expect(test.counters.badPages).toBeGreaterThan(0)
  })
})

test('D1 D7: nothing is said to be in a log that has failed while it was on its way there', async () => {
  const test = await TestLog.create({ buffered: false })
  const { writtenLsn } = test.log
  const batch = test.log.stageWrite(dataExtent(1, 1, 0xff, Buffer.alloc(PAGE, 1)))
  batch.join()
  const written = batch.written()
  written.catch(() => undefined)
  const isUnderWay = (): boolean => test.devices[0]!.writes > before
  const before = test.devices[0]!.writes
  while (!isUnderWay()) await test.scheduler.step()
  // Of a log on several devices any may fail.
  test.log.abandon()
  await expect(test.run(written)).rejects.toThrow('abandoned')
  expect(test.log.writtenLsn).toBe(writtenLsn)
})

test('D1: pages that the origin refuses are offered to a full log for ever, and cost it nothing', async () => {
  const test = await TestLog.create({ devices: [8] })
  await test.run(test.log.setWriteBack(true))
  let page = 0
  for (let waits = false; !waits; page++) {
    const batch = test.log.stageWrite(dataExtent(page, 1, 0xff, Buffer.alloc(PAGE, 1)))
    batch.join()
    const written = batch.written().then(
      () => true,
      () => true,
    )
    waits = !(await Promise.race([written, test.idle().then(() => false)]))
  }
  let refused = 0
  for (let attempt = 0; attempt < 1000; attempt++) {
    const wanted = attempt % (page - 1)
    const location = test.log.table.find(wanted)
    const aside = test.log.setAside(wanted, location, dataExtent(wanted, 1, 0xff, Buffer.alloc(PAGE, 1)))
    if ((await test.run(aside)) === undefined) refused++
  }
  expect(test.log.failure).toBeUndefined()
  expect(refused).toBeGreaterThan(900)
})

describe('D6: a page that was lost is good again once all of it was written', () => {
  test.each([
    ['in the middle', 5, 0xff],
    ['at the end of a disk that ends within it', 100, 0b111],
  ])('%s, also behind a kill', async (_where, page, sectorMap) => {
    const test = await TestLog.create({ diskBytes: 100 * 4096 + 1536 })
    const write = async (map: number, bytes: number, stamp: number): Promise<void> => {
      const batch = test.log.stageWrite(dataExtent(page, 1, map, Buffer.alloc(bytes, stamp)))
      batch.join()
      await test.run(batch.written())
      batch.settle()
    }
    const bytes = sectorMap === 0xff ? 4096 : 1536
    await write(sectorMap, bytes, 1)
    await test.run(test.log.recordBad(page, test.log.table.find(page)))
    expect([...test.log.badPages]).toEqual([page])
    await write(0b1, 512, 2)
    expect([...test.log.badPages]).toEqual([page])
    await write(sectorMap, bytes, 3)
    expect([...test.log.badPages]).toEqual([])
    await test.kill()
    await test.open()
    expect(test.plan.bad).toEqual([])
  })
})

test('no extent kind is unknown to the reader', () => {
  expect(Object.values(EXTENT_KIND)).toEqual([1, 2, 3, 4, 5, 6, 7])
  expect(CHUNK_BYTES % 4096).toBe(0)
})

describe('the reserve of a log in write-back', () => {
  test('what is settled is written where the open chunk was kept for that, and chunks for the reserve have come since', async () => {
    const test = await TestLog.create({ devices: [12] })
    await test.run(test.log.setWriteBack(true))
    for (let page = 0; page < 40; page++) await test.write(page, 1, { settle: false })
    await test.idle()
    await test.kill()
    // Whoever else has the chunks gives them back only when the session has begun.
    let others: Chunk[] = []
    const decide = test.decide.bind(test)
    test.decide = async () => {
      const plan = await decide()
      others = test.source.free.splice(1)
      return plan
    }
    await test.open()
    expect(test.log.chunks.at(-1)!.reserved).toBe(true)
    for (const chunk of others) test.source.give(chunk)
    await test.commit()
    test.log.settle(test.log.writtenLsn, 0)
    await test.run(test.log.recordSettled())
    expect(test.log.dirtyBytes).toBe(0)
    expect(test.onDevice.at(-1)!.frames.at(-1)!.settledLsn).toBe(test.log.writtenLsn)
  })
})
