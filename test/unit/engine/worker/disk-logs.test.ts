/** What becomes of the log that a disk finds again, by its epoch and by what is on record of its origin. */
import { mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { CHUNK_KIND, decodeChunkHeader } from '../../../../src/format/chunk-header.js'
import type { DiskSettings } from '../../../../src/engine/engine.js'
import { dataExtent } from '../../../../src/engine/log/staged-extent.js'
import type { OpenedLog } from '../../../../src/engine/log/open-log.js'
import { openOrigin } from '../../../../src/engine/origin/open-origin.js'
import type { FoundChunkPlace } from '../../../../src/engine/pool/pool.js'
import { loadReplacement } from '../../../../src/engine/replacement/modules.js'
import { DiskCounters } from '../../../../src/engine/statistics/disk-counters.js'
import { SharedDiskMeter } from '../../../../src/engine/statistics/disk-meter.js'
import { DiskLogs } from '../../../../src/engine/worker/disk-logs.js'
import { ThreadCache } from '../../../../src/engine/worker/thread-cache.js'

const MIB = 2 ** 20
const CHUNKS = 16
const PAGE = 4096

async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  for (const name of ['ssd.img', 'disk.img']) {
    await writeFile(join(directory, name), '')
    await truncate(join(directory, name), (CHUNKS + 1) * MIB)
  }
  return directory
}

/** A cache of which every chunk but those that are `held` is free. */
async function openCache(directory: string, held: readonly FoundChunkPlace[] = []): Promise<ThreadCache> {
  const free = Array.from({ length: CHUNKS }, (_, index) => index).filter(
    (index) => !held.some((place) => place.index === index),
  )
  const cache: ThreadCache = await ThreadCache.open(
    {
      cacheId: 'cd'.repeat(16),
      chunkBytes: MIB,
      firstChunkOffset: MIB,
      devices: [join(directory, 'ssd.img')],
      spareCount: new SharedArrayBuffer(4),
    },
    {
      want: () =>
        setImmediate(() => {
          const chunks = free.splice(0, 1).map((index) => ({ deviceIndex: 0, index, generation: 100 }))
          cache.granted(chunks, free.length === 0)
        }),
      give: () => {},
      failed: () => {},
      left: () => {},
    },
  )
  return cache
}

async function logsOf(directory: string, cache: ThreadCache, epoch: number, originIsWhole: boolean): Promise<DiskLogs> {
  const origin = await openOrigin(join(directory, 'disk.img'), { readOnly: false, imageFormatAllowed: true })
  onTestFinished(() => origin.close(0))
  const settings = {
    name: 'web',
    logId: 'ab'.repeat(16),
    origin: join(directory, 'disk.img'),
    trustCleanPages: true,
    originIsWhole,
  } as DiskSettings
  const meter = new SharedDiskMeter(DiskCounters.create())
  const place = { cache, maximumChunks: CHUNKS, epoch }
  return new DiskLogs(settings, origin, meter, await loadReplacement('s3-fifo'), place)
}

/** What is on the device says whose each chunk is. */
async function findChunks(directory: string): Promise<FoundChunkPlace[]> {
  const file = await open(join(directory, 'ssd.img'))
  try {
    const found: FoundChunkPlace[] = []
    for (let index = 0; index < CHUNKS; index++) {
      const { buffer } = await file.read(Buffer.alloc(PAGE), 0, PAGE, (index + 1) * MIB)
      const header = decodeChunkHeader(buffer, 0)
      if (header?.kind === CHUNK_KIND.log) found.push({ deviceIndex: 0, index, generation: header.generation, header })
    }
    return found
  } finally {
    await file.close()
  }
}

/** A log of epoch 1 that says that the origin lacks a page, as it is found again. */
async function dirtyLog(directory: string): Promise<FoundChunkPlace[]> {
  const cache = await openCache(directory)
  const { log, load } = await (await logsOf(directory, cache, 1, true)).create()
  await load()
  await log.setWriteBack(true)
  const batch = log.stageWrite(dataExtent(3, 1, 0xff, Buffer.alloc(PAGE, 7)))
  batch.join()
  await batch.written()
  await log.commit()
  await cache.close()
  return findChunks(directory)
}

async function recovered(directory: string, epoch: number, originIsWhole: boolean): Promise<OpenedLog | undefined> {
  const found = await dirtyLog(directory)
  expect(found.length).toBeGreaterThan(0)
  const cache = await openCache(directory, found)
  onTestFinished(() => cache.close())
  return (await logsOf(directory, cache, epoch, originIsWhole)).recover('write-back', found)
}

it('D2: the log of this epoch has what the origin lacks, whatever is on record of that', async () => {
  const opened = await recovered(await scratch(), 1, true)
  expect(opened!.log.dirtyBytes).toBeGreaterThan(0)
})

it('D7: a log that its disk left when the origin had everything is freed, and is no reason to stop', async () => {
  const directory = await scratch()
  const opened = await recovered(directory, 2, true)
  expect([opened!.isNew, opened!.log.dirtyBytes]).toEqual([true, 0])
  await opened!.log.appended()
  expect((await findChunks(directory)).every(({ header }) => header.epoch === 2)).toBe(true)
})

it('D5: a log of an older epoch is not dropped where the origin may lack what it has', async () => {
  const directory = await scratch()
  await expect(recovered(directory, 2, false)).rejects.toMatchObject({ code: 'ORIGIN_CHANGED' })
  expect(await findChunks(directory)).not.toEqual([])
})
