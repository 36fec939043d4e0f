/** A disk on a thread that does not own it: what it reads by itself, and what it asks of the owner. */
import { expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import type { DiskMeter } from '../../../../src/engine/disk/disk.js'
import { FollowedLog } from '../../../../src/engine/log/followed-log.js'
import { LogFeed } from '../../../../src/engine/log/log-feed.js'
import { DiskReader, type DiskOwner } from '../../../../src/engine/worker/disk-reader.js'
import type { DiskRange } from '../../../../src/engine/worker/sharing-messages.js'
import { CHUNK_BYTES, TestLog } from '../log/test-log.js'

const PAGE = 4096
const MIB = 1024 * 1024

/** What the owner answers: bytes of 0xee. */
class Owner implements DiskOwner {
  readonly asked: { name: string; argument: unknown }[] = []
  failure: Error | undefined
  readonly #waiting: (() => void)[] = []
  isSlow = false

  readonly call = (async (name: string, argument: unknown) => {
    this.asked.push({ name, argument })
    if (this.isSlow) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    if (this.failure !== undefined) throw this.failure
    return name === 'read' ? new Uint8Array((argument as DiskRange).length).fill(0xee) : undefined
  }) as DiskOwner['call']

  answer(): void {
    for (const answer of this.#waiting.splice(0)) answer()
  }

  get reads(): DiskRange[] {
    return this.asked.filter(({ name }) => name === 'read').map(({ argument }) => argument as DiskRange)
  }
}

interface World {
  readonly test: TestLog
  readonly owner: Owner
  readonly disk: DiskReader
  readonly counted: { reads: number; hits: number; badPages: number }
  settle(): Promise<void>
}

async function world(options: { buffered: boolean; phase?: number }): Promise<World> {
  const test = await TestLog.create({ buffered: options.buffered })
  const ignore = (): void => undefined
  const meter: DiskMeter = {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
    read(_bytes, hit) {
      counted.reads++
      if (hit) counted.hits++
    },
    write: ignore,
    flush: ignore,
    originRead: ignore,
    originWrite: ignore,
    barrier: ignore,
    originBarriers: ignore,
    admitted: ignore,
  }
  const counted = {
    reads: 0,
    hits: 0,
    get badPages() {
      return meter.badPages
    },
  }
  const owner = new Owner()
  const description = {
    name: 'base',
    sizeBytes: 2 ** 30,
    minimumBlockBytes: 512,
    preferredBlockBytes: PAGE,
    canTrim: true,
    canZero: true,
  }
  const disk = new DiskReader(description, owner, meter, test.scheduler)
  const [device] = test.devices
  const log = new FollowedLog(CHUNK_BYTES / 512, ({ deviceIndex, index, generation }) => {
    return { device: device!, deviceIndex, index, offset: index * CHUNK_BYTES, generation }
  })
  const feed = new LogFeed([(update) => log.follow(update)], test.scheduler)
  test.log.follower = feed
  disk.useLog(log, options.phase ?? 0)
  return { test, owner, disk, counted, settle: () => test.run(feed.settled()) }
}

/** Reads as a connection does. */
async function read({ test, disk }: World, offset: number, length: number): Promise<Buffer> {
  const target = Buffer.alloc(length + 3)
  if (!disk.tryRead(offset, length, target, 3)) await test.run(disk.read(offset, length, target, 3))
  return target.subarray(3)
}

test.each([true, false])(
  'what is in the index is read here, all else by the owner (buffered: %s)',
  async (buffered) => {
    const here = await world({ buffered, phase: 1 })
    const { test, owner, counted, settle } = here
    for (let page = 10; page < 14; page++) await test.fill(page, page)
    await settle()
    // The phase moves everything by a sector: the bytes of page 10 begin a sector before 10 * 4096.
    const bytes = await read(here, 10 * PAGE - 512, 4 * PAGE)
    expect([0, 1, 2, 3].map((page) => bytes[page * PAGE])).toEqual([10, 11, 12, 13])
    const across = await read(here, 11 * PAGE - 1024, 1024)
    expect([across[0], across[511], across[512], across[1023]]).toEqual([10, 10, 11, 11])
    expect(owner.reads).toEqual([])
    expect(counted).toMatchObject({ reads: 2, hits: 2 })

    expect((await read(here, 13 * PAGE, PAGE)).equals(Buffer.alloc(PAGE, 0xee))).toBe(true)
    expect(owner.reads).toEqual([{ offset: 13 * PAGE, length: PAGE }])
    // The owner counts what it was asked.
    expect(counted.reads).toBe(2)
  },
)

test.each([true, false])('a bad page is forgotten, and read by the owner (buffered: %s)', async (buffered) => {
  const here = await world({ buffered })
  await here.test.fill(5, 1)
  await here.test.fill(6, 1)
  await here.settle()
  const { chunk, columns } = here.test.log.chunks[0]!
  const ordinal = here.test.log.table.find(5) % here.test.log.entriesPerChunk
  here.test.damage({ device: 0, offset: chunk.offset }, columns.unit[ordinal]! * 512 + 99)
  expect((await read(here, 5 * PAGE, PAGE)).equals(Buffer.alloc(PAGE, 0xee))).toBe(true)
  expect(here.counted.badPages).toBe(1)
  await read(here, 5 * PAGE, PAGE)
  expect(here.counted.badPages).toBe(1)
  expect((await read(here, 6 * PAGE, PAGE)).equals(Buffer.alloc(PAGE, 1))).toBe(true)
})

test('a device that fails sends its readers to the owner', async () => {
  const here = await world({ buffered: true })
  await here.test.fill(5, 1)
  await here.settle()
  here.test.devices[0]!.failed = new Error('the device is gone')
  expect((await read(here, 5 * PAGE, PAGE))[0]).toBe(0xee)
})

test('a failure of the owner is what the client is told; a bug stays one', async () => {
  const here = await world({ buffered: true })
  here.owner.failure = new VmcacheError('ORIGIN_FAILED', 'the origin is gone', { details: { errno: 'EIO' } })
  await expect(read(here, 0, 512)).rejects.toMatchObject({ errno: 'EIO', message: 'the origin is gone' })
  here.owner.failure = new VmcacheError('INTERNAL', 'a bug')
  await expect(read(here, 0, 512)).rejects.not.toHaveProperty('errno')
  await expect(here.disk.write()).rejects.toMatchObject({ errno: 'EPERM' })
})

test('S4: what waits for the owner is bounded', async () => {
  const { owner, disk } = await world({ buffered: true })
  owner.isSlow = true
  const reads = Array.from({ length: 40 }, (_, index) => disk.read(index * MIB, MIB, Buffer.alloc(MIB), 0))
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  await turn()
  expect(owner.reads).toHaveLength(32)
  owner.answer()
  await turn()
  expect(owner.reads).toHaveLength(40)
  owner.answer()
  await Promise.all(reads)
})

test('the owner hears of hits: soon, many at once, and no more than it takes', async () => {
  const here = await world({ buffered: true })
  await here.test.fill(5, 1)
  await here.settle()
  const told = (): Uint32Array[] =>
    here.owner.asked.filter(({ name }) => name === 'noteHits').map(({ argument }) => argument as Uint32Array)
  for (let count = 0; count < 3; count++) await read(here, 5 * PAGE, PAGE)
  const before = here.counted.hits
  expect(before).toBe(3)
  expect(told()).toEqual([])
  await here.test.scheduler.advance(100)
  expect(told()).toEqual([Uint32Array.of(5, 5, 5)])
  await new Promise((resolve) => setImmediate(resolve))
  here.owner.isSlow = true
  for (let count = 0; count < 5000; count++) await read(here, 5 * PAGE, PAGE)
  await here.test.scheduler.advance(1000)
  expect(told().reduce((sum, pages) => sum + pages.length, 0)).toBeLessThanOrEqual(3 + 3 * 1024)
})
