/** A log that holds what its origin lacks is written to it without an engine: whole, and behind damage. Real files. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../../src/base/clock.js'
import { SeededRandom } from '../../../../src/base/random.js'
import { openDevice } from '../../../../src/engine/device/open-device.js'
import { destageLog, type DestageLogOptions } from '../../../../src/engine/disk/destage-log.js'
import type { Log } from '../../../../src/engine/log/log.js'
import { openLog } from '../../../../src/engine/log/open-log.js'
import { planRecovery } from '../../../../src/engine/log/recovery.js'
import { dataExtent } from '../../../../src/engine/log/staged-extent.js'
import { openOrigin } from '../../../../src/engine/origin/open-origin.js'
import { PoolChunks } from '../../../../src/engine/pool/pool-chunks.js'
import { Pool, formatDevices } from '../../../../src/engine/pool/pool.js'
import { fifo } from '../../../../src/engine/replacement/fifo.js'

const PAGE = 4096
const MIB = 2 ** 20
const LOG = 'cd'.repeat(16)
const BOOT = 'b0'.repeat(16)
const PAGES = 700

interface Setup {
  readonly image: string
  readonly device: string
  /** Where the frames of the log's chunks begin on the device. */
  readonly chunks: { readonly offset: number; readonly end: number }[]
}

/** A log with pages 0 to 699 dirty in it, each written on its own with its number as stamp, 16 to a barrier. */
async function dirtyLog(): Promise<Setup> {
  const directory = mkdtempSync(join(tmpdir(), 'vmcache-destage-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const device = join(directory, 'cache')
  const image = join(directory, 'image.raw')
  for (const path of [device, image]) closeSync(openSync(path, 'w'))
  truncateSync(device, 32 * MIB)
  truncateSync(image, 16 * MIB)
  const opened = await openDevice(device)
  const settings = { name: 'fast', hostId: '0'.repeat(32), blockBytes: PAGE, chunkBytes: MIB }
  await formatDevices([opened], settings, { random: new SeededRandom(1), clock: systemClock })
  const pool = await Pool.open([opened], { allowMissing: false })
  const log = await newLog(pool)
  await log.setWriteBack(true)
  for (let page = 0; page < PAGES; page++) {
    const data = Buffer.alloc(PAGE)
    data.writeUInt32LE(page + 1)
    log.stageWrite(dataExtent(page, 1, 0xff, data))
    await log.appended()
    if (page % 16 === 15) await log.commit()
  }
  await log.commit()
  const chunks = log.chunks.map(({ chunk, writtenOffset }) => ({
    offset: chunk.offset,
    end: chunk.offset + writtenOffset,
  }))
  log.abandon()
  await opened.close()
  return { image, device, chunks }
}

async function newLog(pool: Pool): Promise<Log> {
  const source = new PoolChunks(pool, [])
  const identity = { logId: LOG, diskName: 'web01', origin: '/image', diskBytes: 16 * MIB, phase: 0 }
  const counters = {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
  }
  const options = { identity, epoch: 1, bootId: BOOT, source, clock: systemClock, counters, defer: setImmediate }
  const { log } = await openLog(
    await planRecovery([], { chunkBytes: MIB, bootId: BOOT }),
    { ...options, onFailed: () => undefined },
    { replacement: fifo.laid(256), maximumChunks: 100, keepPages: true },
  )
  return log
}

interface Found {
  readonly outcome: Awaited<ReturnType<typeof destageLog>>
  readonly pool: Pool
}

/** What an engine, or none, does with it later. */
async function destage(
  { image, device }: Setup,
  changes: Partial<DestageLogOptions> = {},
  end: (log: Log) => Promise<void> = (log) => log.destroy(),
): Promise<Found> {
  const opened = await openDevice(device)
  const origin = await openOrigin(image, { readOnly: false, imageFormatAllowed: true })
  try {
    const pool = await Pool.open([opened], { allowMissing: false })
    const claimed = pool.claim(LOG)
    const source = new PoolChunks(pool, claimed)
    const headers = new Map(claimed.map((place) => [`${place.deviceIndex}:${place.index}`, place.header]))
    const found = source.chunks.map((chunk) => ({ chunk, header: headers.get(`${chunk.deviceIndex}:${chunk.index}`)! }))
    const outcome = await destageLog(found, {
      name: 'web01',
      epoch: 1,
      origin,
      source,
      bootId: BOOT,
      clock: systemClock,
      pastDamage: false,
      progress: () => undefined,
      signal: new AbortController().signal,
      ...changes,
    })
    if (outcome.log !== undefined) await end(outcome.log)
    return { outcome, pool }
  } finally {
    await origin.close(1000)
    await opened.close()
  }
}

/** Pages of the image that have what was written last. */
function written(image: string): number[] {
  const bytes = readFileSync(image)
  return [...Array(PAGES).keys()].filter((page) => bytes.readUInt32LE(page * PAGE) === page + 1)
}

function flip(device: string, offset: number, length = 1): void {
  const fd = openSync(device, 'r+')
  writeSync(fd, Buffer.alloc(length, 0xa5), 0, length, offset)
  closeSync(fd)
}

test('the origin gets everything, and the log is given back', async () => {
  const setup = await dirtyLog()
  expect(setup.chunks.length).toBeGreaterThan(2)
  const { outcome, pool } = await destage(setup)
  expect(outcome).toMatchObject({ writtenBytes: PAGES * PAGE, lostPages: [], damages: 0 })
  expect(written(setup.image)).toHaveLength(PAGES)
  expect(pool.freeChunks).toBe(pool.totalChunks)
})

test('a log that is closed instead is clean for whoever opens it next', async () => {
  const setup = await dirtyLog()
  await destage(setup, {}, (log) => log.close())
  const again = await destage(setup)
  expect(again.outcome).toMatchObject({ log: undefined, writtenBytes: 0 })
})

test('cancelled, nothing is lost, and the next goes on', async () => {
  const setup = await dirtyLog()
  const abort = new AbortController()
  const origin = await openOrigin(setup.image, { readOnly: false, imageFormatAllowed: true })
  let calls = 0
  const slow = Object.create(origin, {
    write: {
      value: async (offset: number, data: Buffer) => {
        if (++calls === 20) abort.abort()
        await origin.write(offset, data)
      },
    },
  }) as typeof origin
  await expect(destage(setup, { origin: slow, signal: abort.signal })).rejects.toMatchObject({ code: 'INTERRUPTED' })
  await origin.close(1000)
  expect(written(setup.image).length).toBeLessThan(PAGES)
  await destage(setup)
  expect(written(setup.image)).toHaveLength(PAGES)
})

test('an origin of another size is another image', async () => {
  const setup = await dirtyLog()
  truncateSync(setup.image, 8 * MIB)
  await expect(destage(setup)).rejects.toMatchObject({ code: 'ORIGIN_SIZE' })
})

test.each([
  ['in the middle of a chunk that was sealed', (chunks: Setup['chunks']) => chunks[2]!.offset + 512 * 1024],
  ['at the begin of a chunk', (chunks: Setup['chunks']) => chunks[1]!.offset + PAGE],
  ['in the newest', (chunks: Setup['chunks']) => chunks.at(-1)!.offset + 64 * 1024],
])('D6: damage %s is refused; when somebody says so all else is written', async (_, place) => {
  const setup = await dirtyLog()
  const at = place(setup.chunks)
  flip(setup.device, at - (at % 512), 16 * 1024)
  await expect(destage(setup)).rejects.toMatchObject({ code: 'CORRUPT' })
  const { outcome, pool } = await destage(setup, { pastDamage: true })
  const whole = written(setup.image)
  // 16 KiB of frames of one page each: four of them, and the one before.
  expect(whole.length).toBeGreaterThanOrEqual(PAGES - 6)
  expect(whole.length).toBeLessThan(PAGES)
  expect(outcome.damages + outcome.lostPages.length).toBeGreaterThan(0)
  expect(pool.freeChunks).toBe(pool.totalChunks)
})

test('D6: damage is found again after a crash in the middle', async () => {
  const setup = await dirtyLog()
  flip(setup.device, setup.chunks.at(-1)!.offset + 64 * 1024, 16 * 1024)
  const abort = new AbortController()
  abort.abort()
  const cancelled = destage(setup, { pastDamage: true, signal: abort.signal })
  await expect(cancelled).rejects.toThrow()
  await expect(destage(setup)).rejects.toMatchObject({ code: 'CORRUPT' })
})
