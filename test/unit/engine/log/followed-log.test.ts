/** Indexes that follow a log from elsewhere, with messages that take their time: they may know less than the log, never anything else. */
import { describe, expect, test } from 'vitest'
import { NOWHERE } from '../../../../src/engine/index/page-table.js'
import { FollowedLog } from '../../../../src/engine/log/followed-log.js'
import { LogFeed, type IndexUpdate, type SendUpdate } from '../../../../src/engine/log/log-feed.js'
import { LogReader } from '../../../../src/engine/log/log-reader.js'
import type { LogCounters } from '../../../../src/engine/log/log.js'
import { readEntry } from '../../../../src/engine/log/stored-chunk.js'
import { CHUNK_BYTES, FIFO, TestLog, type TestLogOptions } from './test-log.js'

const PAGE = 4096
const PAGES = 150
const EVERYTHING = 0xffff_ffff

/** A follower behind a line on which messages and answers keep their order and arrive late. */
class Follower {
  readonly log: FollowedLog
  readonly counters: LogCounters = {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
  }
  /** Offsets of the chunks that are being read. */
  readonly reading: number[] = []
  hits = 0
  #line: Promise<void> = Promise.resolve()

  constructor(readonly test: TestLog) {
    this.log = new FollowedLog(CHUNK_BYTES / 512, ({ deviceIndex, index, generation }) => ({
      device: test.devices[deviceIndex]!,
      deviceIndex,
      index,
      offset: index * CHUNK_BYTES,
      generation,
    }))
  }

  readonly send: SendUpdate = async (update: IndexUpdate) => {
    const copy = structuredClone(update)
    const { random, scheduler } = this.test
    const arrived = this.#line.then(async () => {
      for (let late = random.below(12); late >= 0; late--) await scheduler.delay()
    })
    this.#line = arrived
    let carriedOut = Promise.resolve()
    await arrived.then(() => void (carriedOut = this.log.follow(copy)))
    await carriedOut
    await scheduler.delay()
  }

  holds(offset: number): boolean {
    return this.reading.includes(offset) || this.log.slots.some((chunk) => chunk?.chunk.offset === offset)
  }

  /** All bytes of the page, or undefined where it is not found here. */
  async read(page: number): Promise<Buffer | undefined> {
    const target = Buffer.alloc(PAGE)
    const { log, counters } = this
    if (new LogReader().tryRead(log, counters, page * PAGE, PAGE, target, 0)) return this.#hit(target)
    const location = log.table.find(page)
    if (location === NOWHERE) return undefined
    const chunk = log.slots[Math.floor(location / log.entriesPerChunk)]!
    this.reading.push(chunk.chunk.offset)
    const data = await readEntry(chunk, location % log.entriesPerChunk, counters)
    this.reading.splice(this.reading.indexOf(chunk.chunk.offset), 1)
    return this.#hit(data!)
  }

  #hit(data: Buffer): Buffer {
    this.hits++
    return data
  }
}

interface World {
  readonly test: TestLog
  readonly feed: LogFeed
  readonly followers: readonly Follower[]
}

/** A log that two others follow. A chunk that is handed out while one of them holds it fails the test. */
async function follow(options: TestLogOptions): Promise<World> {
  return followOpen(await TestLog.create(options))
}

function followOpen(test: TestLog): World {
  const followers = [new Follower(test), new Follower(test)]
  const feed = new LogFeed(
    followers.map(({ send }) => send),
    test.scheduler,
  )
  test.log.follower = feed
  test.source.onTake = ({ offset }) => {
    if (followers.some((follower) => follower.holds(offset))) throw new Error(`a chunk in use was handed out`)
  }
  return { test, feed, followers }
}

/** What a page holds; another byte after each invalidation. */
const stampOf = (page: number, version: number): number => (page * 7 + version * 131) % 251

const KEEP_HALF = { ...FIFO, reclaimed: (page: number) => (page % 2 === 0 ? 0 : -1) }

describe.each([
  ['buffered', true],
  ['direct', false],
])('on a %s device', (_name, buffered) => {
  test.each([1, 2, 3, 4, 5, 6])(
    'D2 D3: followers read what the log holds, while it reclaims all the time (seed %i)',
    async (seed) => {
      const options = { seed, buffered, devices: [6], replacement: KEEP_HALF }
      const { test, feed, followers } = await follow(options)
      const reads: Promise<void>[] = []
      let version = 0
      for (let round = 0; round < 1500; round++) {
        const page = test.random.below(PAGES)
        const dice = test.random.below(100)
        if (dice < 40) await test.fill(page, stampOf(page, version))
        else if (dice < 90) {
          const at = version
          const follower = followers[test.random.below(2)]!
          reads.push(
            follower.read(page).then((data) => {
              // A read that began before an invalidation has ended may find either.
              if (data !== undefined) expect([stampOf(page, at), stampOf(page, version)]).toContain(data[0])
            }),
          )
          await test.scheduler.step()
        } else if (dice < 98) await test.scheduler.advance(5)
        else if (version * 200 < round) {
          await test.mark('invalid', 0, EVERYTHING)
          await test.run(feed.settled())
          version++
        } else await test.idle()
      }
      await test.run(Promise.all(reads))
      for (const { hits, counters } of followers) {
        expect(hits).toBeGreaterThan(40)
        expect(counters.badPages).toBe(0)
      }
      expect(test.failure).toBeUndefined()
      expect(test.log.chunks.at(-1)!.sequence).toBeGreaterThan(8)
    },
  )
})

test('a follower that has heard everything finds every page that the log finds', async () => {
  const { test, feed, followers } = await follow({ devices: [16] })
  for (let page = 0; page < 200; page++) await test.fill(page, stampOf(page, 0))
  await test.run(feed.settled())
  for (const { log } of followers) {
    expect(log.table.size).toBe(test.log.table.size)
    expect(log.bytes).toBeLessThanOrEqual(test.log.indexBytes)
  }
})

test('an index that is read behind the traffic is followed too', async () => {
  const first = await TestLog.create({ devices: [16] })
  await first.fillChunks(0, 7, 3)
  await first.mark('invalid', 3)
  await first.kill()
  const { test, feed, followers } = await reopen(first)
  await test.run(feed.settled())
  for (const follower of followers) {
    expect(follower.log.table.size).toBe(test.log.table.size)
    expect((await test.run(follower.read(2)))![0]).toBe(7)
    expect(await test.run(follower.read(3))).toBeUndefined()
    // Neighbours on the device are neighbours in the index, so that they are read at once.
    const { table } = follower.log
    expect([table.find(11), table.find(12)]).toEqual([table.find(10) + 1, table.find(10) + 2])
  }
})

/** Opens the log again, followed from before its index is loaded. */
async function reopen(test: TestLog): Promise<World> {
  const load = await test.openUnloaded()
  const world = followOpen(test)
  await test.run(load())
  return world
}

test('D2: a chunk is handed out again only after the last read of it by a follower', async () => {
  const { test, feed, followers } = await follow({ devices: [4] })
  await test.fillChunks(0, 1, 2)
  await test.run(feed.settled())
  const [follower] = followers
  const chunk = follower!.log.slots.find((each) => each !== undefined)!
  chunk.readers++
  follower!.reading.push(chunk.chunk.offset)
  for (let page = 1000; page < 1200; page++) await test.fill(page, 2)
  await test.idle()
  expect(follower!.log.slots).not.toContain(chunk)
  const reached = test.log.chunks.at(-1)!.sequence
  follower!.reading.pop()
  chunk.release()
  for (let page = 2000; page < 2200; page++) await test.fill(page, 3)
  await test.idle()
  expect(test.failure).toBeUndefined()
  expect(test.log.chunks.at(-1)!.sequence).toBeGreaterThan(reached)
})

test('a log that is given back waits for a read of a follower, and one that ends is forgotten', async () => {
  const { test, feed, followers } = await follow({ devices: [8], buffered: false })
  await test.fillChunks(0, 9, 2)
  await test.run(feed.settled())
  const [follower] = followers
  const location = follower!.log.table.find(1)
  const chunk = follower!.log.slots[Math.floor(location / follower!.log.entriesPerChunk)]!
  chunk.readers++
  let given = false
  const destroyed = test.log.destroy().then(() => (given = true))
  void feed.end()
  await test.idle()
  expect(given).toBe(false)
  expect(follower!.log.table.size).toBe(0)
  chunk.release()
  await test.run(destroyed)
  expect(test.source.free).toHaveLength(8)
})

test('a page that is bad is forgotten by the follower that found it', async () => {
  const { test, feed, followers } = await follow({ devices: [8] })
  await test.fill(5, 1)
  await test.run(feed.settled())
  const [{ log, counters }] = followers as [Follower, Follower]
  const location = log.table.find(5)
  const { chunk, columns } = log.slots[Math.floor(location / log.entriesPerChunk)]!
  test.damage({ device: 0, offset: chunk.offset }, columns.unit[location % log.entriesPerChunk]! * 512 + 99)
  const target = Buffer.alloc(PAGE)
  for (let attempt = 0; attempt < 100 && counters.badPages === 0; attempt++)
    expect(new LogReader().tryRead(log, counters, 5 * PAGE, PAGE, target, 0)).toBe(false)
  expect(counters.badPages).toBe(1)
  expect(log.table.find(5)).toBe(NOWHERE)
})
