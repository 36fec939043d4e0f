/** Recovery: the decision table row by row, the end of a log and damage in it, and that what was dropped stays dropped. */
import { describe, expect, test } from 'vitest'
import { PAGES_PER_REGION } from '../../../../src/engine/log/touched-regions.js'
import { flawsOf, type ReadChunk, type ReadFrame } from './device-reader.js'
import { CHUNK_BYTES, FIFO, TestLog } from './test-log.js'

const REGION_3 = 3 * PAGES_PER_REGION
const REGION_5 = 5 * PAGES_PER_REGION

/** Says how far all is settled, as a frame that the device has. */
async function settle(test: TestLog): Promise<void> {
  test.log.mark()
  await test.run(test.log.appended())
}

async function touch(test: TestLog, region: number): Promise<void> {
  await test.mark('touched', region, PAGES_PER_REGION)
  await test.commit()
}

/** Region 5 is touched, region 3 is not; each has a page, and page 9 was written but not settled. */
async function logBeforeTheEnd(): Promise<TestLog> {
  const test = await TestLog.create()
  await test.fill(REGION_3, 3)
  await test.fill(REGION_5, 5)
  await touch(test, REGION_5)
  await test.fill(9, 8)
  await settle(test)
  await test.commit()
  await test.write(9, 9, { settle: false })
  return test
}

function frameOf(test: TestLog, page: number, kind = 'data'): { chunk: ReadChunk; frame: ReadFrame } {
  for (const chunk of test.onDevice)
    for (const frame of chunk.frames)
      if (frame.extents.some((extent) => extent.page === page && extent.kind === kind)) return { chunk, frame }
  throw new Error(`no frame has page ${page}`)
}

/** Makes the header of the frame that has a page unreadable. */
function damageFrame(test: TestLog, page: number): void {
  const { chunk, frame } = frameOf(test, page)
  test.damage(chunk, frame.at + 20)
}

describe('which pages are dropped', () => {
  test('an empty device: nothing', async () => {
    const test = new TestLog()
    expect(await test.open()).toMatchObject({ end: 'empty', chunks: [], dropped: [], invalid: [], damages: 0 })
  })

  test('closed: none, on this boot and on another', async () => {
    for (const powerCut of [false, true]) {
      const test = await TestLog.create()
      await test.fill(REGION_3, 3)
      await touch(test, REGION_5)
      await test.write(REGION_5, 5)
      await test.run(test.log.close())
      if (powerCut) await test.powerCutLosingAll()
      else await test.kill()
      expect(await test.open()).toMatchObject({ end: 'closed', invalid: [], touched: [], damages: 0 })
      expect([await test.read(REGION_3), await test.read(REGION_5)]).toEqual([3, 5])
    }
  })

  test('killed: what is not settled, with what it covered; touched regions stay touched', async () => {
    const test = await logBeforeTheEnd()
    await test.kill()
    expect(await test.open()).toMatchObject({
      end: 'killed',
      invalid: [{ page: 9, count: 1 }],
      touched: [{ page: REGION_5, count: PAGES_PER_REGION }],
    })
    expect([await test.read(REGION_3), await test.read(REGION_5), await test.read(9)]).toEqual([3, 5, undefined])
    expect([...test.log.touchedRegions]).toEqual([5])
  })

  test('D3: power cut: that, and all of the touched regions', async () => {
    const test = await logBeforeTheEnd()
    await test.powerCutLosingAll()
    expect(await test.open()).toMatchObject({ end: 'power-cut', touched: [] })
    // The write of page 9 was not committed, and is not there: its region was not touched, so it never reached the origin.
    expect([await test.read(REGION_3), await test.read(REGION_5), await test.read(9)]).toEqual([3, undefined, 8])
    expect([...test.log.touchedRegions]).toEqual([])
  })

  test('D3: touched regions are known whatever chunk the log ends in', async () => {
    const test = await TestLog.create({ devices: [40] })
    await touch(test, REGION_5)
    let page = 0
    for (let chunk = 0; chunk < 4; chunk++) {
      page = await test.fillChunks(page, 1, 1)
      await test.commit()
      expect((await probe(test)).touched).toEqual([{ page: REGION_5, count: PAGES_PER_REGION }])
    }
    await test.mark('quiet', REGION_5, PAGES_PER_REGION)
    expect((await probe(test)).touched).toEqual([])
  })

  test('a log of another epoch is new: nothing of it is kept, and its chunks are free', async () => {
    const test = await TestLog.create()
    await test.fillChunks(0, 1, 3)
    await test.kill()
    test.keepPages = false
    await test.open()
    expect(test.log.table.size).toBe(0)
    expect(test.onDevice).toHaveLength(1)
    await test.powerCutLosingAll()
    test.keepPages = true
    await test.open()
    expect(test.log.table.size).toBe(0)
  })
})

/** What a recovery would decide of the devices as they are, without ending this life. */
async function probe(test: TestLog): ReturnType<TestLog['decide']> {
  const { source } = test
  const plan = await test.decide()
  test.source = source
  return plan
}

describe('the end of the log', () => {
  test('D2: a frame that is cut anywhere ends it; all before it are kept', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    await test.write(2, 2)
    await test.write(3, 3)
    const { chunk, frame } = frameOf(test, 3)
    const device = test.devices[chunk.device]!
    const whole = Buffer.from(device.bytes)
    for (let sectors = 0; sectors < frame.bytes / 512; sectors++) {
      device.bytes.fill(0xa5, chunk.offset + frame.at + sectors * 512, chunk.offset + frame.at + frame.bytes)
      const plan = await probe(test)
      expect(plan.damages).toBe(0)
      expect(plan.chunks.at(-1)!.endOffset).toBe(frame.at)
      whole.copy(device.bytes)
    }
    expect((await probe(test)).chunks.at(-1)!.endOffset).toBe(frame.at + frame.bytes)
  })

  test('D2: after a torn frame nothing counts, though it may be whole', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    await settle(test)
    await test.commit()
    await test.write(2, 2)
    await test.write(3, 3)
    damageFrame(test, 2)
    await test.powerCut()
    // As if all of frame 3 had reached the device.
    const plan = await test.open()
    expect(plan.damages).toBe(0)
    expect([await test.read(1), await test.read(2), await test.read(3)]).toEqual([1, undefined, undefined])
  })

  test('D2: what one recovery dropped never comes back at the next', async () => {
    const test = await TestLog.create()
    await test.write(1, 1)
    await test.commit()
    await test.write(2, 2)
    await test.write(3, 3)
    damageFrame(test, 2)
    await test.kill()
    await test.open()
    expect(await test.read(3)).toBeUndefined()
    // The new life writes a frame as long as the one that was torn.
    await test.write(4, 4)
    await settle(test)
    await test.commit()
    await test.powerCutLosingAll()
    await test.open()
    expect([await test.read(3), await test.read(4)]).toEqual([undefined, 4])
    expect(flawsOf(test.onDevice)).toEqual([])
  })

  test('chunks behind the end are freed, and their numbers are used again under a new session', async () => {
    const test = await TestLog.create({ devices: [40] })
    let page = await test.fillChunks(0, 1, 2)
    await test.commit()
    const unsynced = test.onDevice.length
    await test.fillChunks(page, 1, 3)
    await test.powerCutLosingAll()
    const plan = await test.open()
    expect(plan.chunks.length).toBeGreaterThanOrEqual(unsynced)
    page = await test.fillChunks(1000, 2, 2)
    await test.idle()
    const sequences = test.onDevice.map(({ sequence }) => sequence)
    expect(new Set(sequences).size).toBe(sequences.length)
    expect(flawsOf(test.onDevice)).toEqual([])
  })

  test('a session whose beginning is not whole does not count: the one before is recovered again, the same way', async () => {
    const test = await logBeforeTheEnd()
    await test.kill()
    const first = await test.decide()
    // All of the new session but its commit.
    const opening = test.open().catch(() => undefined)
    while (test.onDevice.every(({ session }) => session === 1)) await test.scheduler.step()
    await test.kill()
    await opening
    const begun = test.onDevice.find(({ session }) => session === 2)
    if (begun !== undefined) for (const frame of begun.frames) test.damage(begun, frame.at + 4)
    const second = await test.open()
    expect(second.invalid).toEqual(first.invalid)
    expect(second.touched).toEqual(first.touched)
    expect(second.settledLsn).toBe(first.settledLsn)
    expect(await test.read(9)).toBeUndefined()
  })

  test('however much was dropped, a session begins in one chunk, and says all of it', async () => {
    const test = await TestLog.create({ devices: [40] })
    const dropped = Array.from({ length: 10_000 }, (_, index) => ({ page: (index * 7919) % 100_000, count: 1 }))
    await test.run(test.log.begin(dropped))
    const chunks = test.onDevice
    expect(chunks).toHaveLength(1)
    const marks = chunks[0]!.frames.flatMap(({ extents }) => extents).filter(({ kind }) => kind === 'invalid')
    expect(marks.length).toBeLessThanOrEqual(CHUNK_BYTES / 512 / 4)
    for (const { page } of dropped)
      if (!marks.some((mark) => mark.page <= page && page < mark.page + mark.count))
        expect.fail(`page ${page} is not said`)
    expect(chunks[0]!.frames.at(-1)!.flags & 2).toBe(2)
  })

  test('orphans of an older session never return', async () => {
    const test = await TestLog.create({ devices: [40] })
    await test.fillChunks(0, 1, 2)
    await test.commit()
    await test.write(500, 5)
    await test.kill()
    const orphan = test.onDevice.at(-1)!
    const device = test.devices[orphan.device]!
    const bytes = Buffer.from(device.bytes.subarray(orphan.offset, orphan.offset + 128 * 1024))
    await test.open()
    const begun = test.onDevice.at(-1)!
    expect(begun.session).toBe(2)
    // A copy of the last chunk of session 1 under a number that session 2 uses: what a recovery could not free.
    const forged = Buffer.from(bytes)
    forged.writeBigUInt64LE(BigInt(begun.sequence), 56)
    const { crc32 } = await import('node:zlib')
    forged.writeUInt32LE(crc32(forged.subarray(4, 512)), 0)
    const free = test.source.free[0]!
    forged.copy(device.bytes, free.offset)
    const plan = await probe(test)
    expect(plan.dropped.map(({ chunk }) => chunk.offset)).toEqual([free.offset])
  })

  test('D2: any number of power cuts leaves whole frames, whole chains and right pages', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const test = await TestLog.create({
        seed,
        devices: [6, 6],
        buffered: seed % 2 === 0,
        replacement: { ...FIFO, reclaimed: (page, heat) => (page % 2 === 0 ? heat : -1) },
      })
      for (let life = 0; life < 4; life++) {
        const committed = new Map<number, number>()
        for (let step = 0; step < 60; step++) {
          const page = test.random.below(40)
          const stamp = 1 + ((life * 60 + step) % 255)
          await test.write(page, stamp)
          committed.delete(page)
          if (test.random.below(10) !== 0) continue
          await settle(test)
          await test.commit()
          committed.set(page, stamp)
        }
        if (test.random.below(2) === 0) await test.powerCut()
        else await test.kill()
        const plan = await test.open()
        expect(plan.damages, `seed ${seed}`).toBe(0)
        for (const [page, stamp] of committed)
          expect([stamp, undefined], `seed ${seed} page ${page}`).toContain(await test.read(page))
        expect(flawsOf(test.onDevice), `seed ${seed}`).toEqual([])
      }
    }
  })
})

describe('summaries', () => {
  async function sealedLog(): Promise<TestLog> {
    const test = await TestLog.create({ devices: [40] })
    await test.write(7, 7)
    const page = await test.fillChunks(100, 1, 3)
    await test.write(page + 1, 2)
    await settle(test)
    await test.commit()
    return test
  }

  test.each([
    ['trailer', 128 * 1024 - 100],
    ['entries', 128 * 1024 - 140],
  ])('a bad %s costs nothing: the chunk is whole, and is read frame by frame', async (_name, at) => {
    const test = await sealedLog()
    const expected = test.log.table.size
    const [first] = test.onDevice
    expect(first!.trailer).toBeDefined()
    test.damage(first!, at)
    await test.kill()
    const plan = await test.open()
    expect(plan.damages).toBe(0)
    expect(await test.read(7)).toBe(7)
    expect(test.log.table.size).toBe(expected)
  })

  test('a summary of an older life of the chunk is none', async () => {
    const test = await TestLog.create({ devices: [8] })
    for (let page = 0; page < 400; page++) await test.write(page, 1)
    await test.commit()
    const open = test.onDevice.at(-1)!
    // Its last block still holds the summary of the time before.
    expect(
      test.devices[0]!.bytes.toString('latin1', open.offset + 128 * 1024 - 124, open.offset + 128 * 1024 - 120),
    ).toBe('vmSM')
    await test.kill()
    const plan = await test.open()
    expect(plan.chunks.at(-1)).toMatchObject({ sealed: false, endOffset: open.end })
    expect(await test.read(399)).toBeUndefined()
    expect(await test.read(398)).toBe(1)
  })
})

describe('D6: damage is told apart from the end, and no page that is older is served', () => {
  /** An old version of page 7, then a new one in a frame that is stable. */
  async function twoVersions(): Promise<TestLog> {
    const test = await TestLog.create({ devices: [40] })
    await test.fill(7, 1)
    await test.fillChunks(100, 1, 1)
    await test.write(7, 2)
    await settle(test)
    await test.commit()
    return test
  }

  test('a bad frame below a stable position, with whole frames behind it', async () => {
    const test = await twoVersions()
    await test.write(8, 8)
    await settle(test)
    damageFrame2(test)
    await test.kill()
    const plan = await test.open()
    expect(plan.damages).toBe(1)
    expect([await test.read(7), await test.read(8), await test.read(100)]).toEqual([undefined, 8, undefined])
    await test.kill()
    expect((await test.open()).damages).toBe(0)
    expect([await test.read(7), await test.read(8)]).toEqual([undefined, 8])
  })

  /** Damages the second version of page 7. */
  function damageFrame2(test: TestLog): void {
    for (const chunk of test.onDevice)
      for (const frame of chunk.frames)
        if (frame.kind === 'writes' && frame.extents[0]?.page === 7) test.damage(chunk, frame.at + 20)
  }

  test('what was cut off behind it does not count for whoever opens the log past the damage again', async () => {
    const test = await TestLog.create()
    await test.run(test.log.setWriteBack(true))
    await test.write(7, 1)
    await test.write(8, 2)
    await test.commit()
    test.log.mark()
    await test.run(test.log.appended())
    await test.commit()
    await test.write(9, 9, { count: 4 })
    const torn = frameOf(test, 9)
    test.damage(torn.chunk, torn.frame.at + 512)
    damageFrame2(test)
    await test.kill()
    test.pastDamage = true
    const { chunks, isDirtyDamaged } = await test.open()
    expect(isDirtyDamaged).toBe(true)
    const end = chunks.at(-1)!.nextFrame
    await test.commit()
    await test.kill()
    // The session that has begun since proves all frames before it, but for those that it never took up.
    expect(
      (await test.decide()).chunks.find(({ found }) => found.chunk.index === chunks.at(-1)!.found.chunk.index),
    ).toMatchObject({ nextFrame: end })
  })

  test('the next frame is a copy, and the write behind it is not known to be stable', async () => {
    const test = await twoVersions()
    await test.fill(8, 1)
    await test.write(8, 2)
    await settle(test)
    damageFrame2(test)
    await test.kill()
    await test.open()
    expect(await test.read(7)).toBeUndefined()
    // Version 1 of page 8 must not be what is left: the origin has version 2.
    expect(await test.read(8)).toBe(2)
  })

  test('only a torn frame is behind it', async () => {
    const test = await twoVersions()
    await test.write(8, 8)
    // Frames that only say how far all is settled stand behind the damage: they are torn away but for the header of the last.
    const { chunk, frame } = frameOf(test, 8)
    for (const before of chunk.frames.slice(chunk.frames.findIndex(({ extents }) => extents[0]?.page === 7) + 1, -1))
      test.damage(chunk, before.at + 4)
    damageFrame2(test)
    test.damage(chunk, frame.at + 512)
    await test.kill()
    const plan = await test.open()
    expect(plan.damages).toBe(1)
    expect(await test.read(7)).toBeUndefined()
  })

  test('which regions are touched is lost with it: after a power cut none is trusted', async () => {
    const test = await TestLog.create()
    await touch(test, REGION_5)
    await settle(test)
    const { chunk, frame } = frameOf(test, REGION_5, 'touched')
    await test.fill(REGION_5 + 1, 1)
    await test.commit()
    // This write reaches the origin, which flushes it; the log loses it.
    await test.write(REGION_5 + 1, 2)
    test.damage(chunk, frame.at + 20)
    await test.powerCutLosingAll()
    const plan = await test.open()
    expect(plan).toMatchObject({ damages: 1, end: 'power-cut' })
    expect(await test.read(REGION_5 + 1)).toBeUndefined()
  })

  test('which regions are touched is lost with it: after a kill all of them are', async () => {
    const test = await TestLog.create()
    await touch(test, REGION_5)
    await settle(test)
    const { chunk, frame } = frameOf(test, REGION_5, 'touched')
    await test.fill(REGION_5 + 1, 1)
    await test.commit()
    await test.write(1, 2)
    test.damage(chunk, frame.at + 20)
    await test.kill()
    expect(await test.open()).toMatchObject({ damages: 1, end: 'killed' })
    expect(new Set(test.log.touchedRegions).has(5)).toBe(true)
  })

  test('a chunk in the middle is missing', async () => {
    const test = await TestLog.create({ devices: [40] })
    await test.fill(7, 1)
    await test.fillChunks(100, 1, 1)
    await test.write(7, 2)
    await test.fillChunks(200, 1, 1)
    await test.write(8, 8)
    await settle(test)
    const chunks = test.onDevice
    expect(chunks).toHaveLength(3)
    test.damage(chunks[1]!, 40)
    await test.kill()
    const plan = await test.open()
    expect(plan.damages).toBe(1)
    expect([await test.read(7), await test.read(8)]).toEqual([undefined, 8])
  })

  test('a chunk in the middle is missing, and only frames behind it show that it had been stable', async () => {
    const test = await TestLog.create({ devices: [40] })
    await test.fill(7, 1)
    await test.fillChunks(100, 1, 1)
    await test.write(7, 2)
    // No commit ended before the next chunk was opened; that one's frames name the commit that sealed this one.
    while (test.log.chunks.length < 3) await test.fill(200 + test.random.below(100), 1)
    await test.idle()
    await test.write(8, 8)
    await settle(test)
    const chunks = test.onDevice
    const [, middle, last] = chunks
    expect(last!.stableFrame).toBeLessThanOrEqual(middle!.firstFrame + middle!.frames.length)
    expect(last!.frames.at(-1)!.stableFrame).toBeGreaterThan(middle!.firstFrame)
    test.damage(middle!, 40)
    await test.kill()
    const plan = await test.open()
    expect(plan.damages).toBe(1)
    expect([await test.read(7), await test.read(8)]).toEqual([undefined, 8])
  })

  test('after a clean close all of the log is proven: no bad frame is taken for its end', async () => {
    const test = await TestLog.create({ devices: [40] })
    await test.fill(7, 1)
    await test.fillChunks(100, 1, 1)
    await test.write(7, 2)
    await test.write(8, 8)
    await test.run(test.log.close())
    damageFrame2(test)
    await test.kill()
    expect(await test.open()).toMatchObject({ damages: 1, end: 'closed' })
    expect([await test.read(7), await test.read(8)]).toEqual([undefined, 8])
  })

  test('bytes of another life of the chunk are no proof of damage', async () => {
    const test = await TestLog.create({ devices: [8] })
    for (let page = 0; page < 400; page++) await test.write(page, 1)
    await settle(test)
    await test.commit()
    await test.kill()
    expect((await test.open()).damages).toBe(0)
    expect(await test.read(399)).toBe(1)
  })
})
