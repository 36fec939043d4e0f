/** A read-only disk that several I/O threads serve at once: a base image of clones. */
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../../src/base/random.js'
import { MIB, PAGE, overwrite, pageOf, pagesOf, startHost, writePages, type Host } from './promises/host.js'
import type { SimpleNbdClient } from '../support/simple-nbd-client.js'
import { until } from '../support/processes.js'

const SEED = Number(process.env['VMCACHE_TEST_SEED'] ?? Date.now() % 2 ** 32)
const REPEAT = `to repeat: VMCACHE_TEST_SEED=${SEED} npx vitest run test/integration/shared-disk.test.ts`
const WAIT = { waitMilliseconds: 30_000 }

/** A host with two I/O threads whose disk `base` is an image of `pages` pages. */
async function hostWith(pages: number, changes: { maxBytes?: number } = {}): Promise<Host & { image: string }> {
  const host = await startHost({ configuration: 'io-threads: 2\n' })
  const image = join(host.directory, 'base.raw')
  await writeFile(image, pagesOf(0, pages, 1))
  await host.createCache()
  await host.attach('base', image, { readOnly: true, ...changes })
  return Object.assign(host, { image })
}

function clientsOf(host: Host, count: number): Promise<SimpleNbdClient[]> {
  return Promise.all(Array.from({ length: count }, () => host.connect('base')))
}

/** Hits of the disk `base` by I/O thread. */
async function hitsByThread(host: Host): Promise<number[]> {
  const text = await host.client.metrics()
  const samples = text.matchAll(/^vmcache_disk_thread_read_hits_total\{disk="base".*thread="(\d+)"\} (\d+)$/gm)
  return [...samples].sort((a, b) => Number(a[1]) - Number(b[1])).map(([, , hits]) => Number(hits))
}

/** Reads pages in an order that is no stream. */
async function readAll(client: SimpleNbdClient, pages: number, version: number, random: SeededRandom): Promise<number> {
  const order = Array.from({ length: pages }, (_, page) => page)
  for (let left = pages - 1; left > 0; left--) {
    const other = random.below(left + 1)
    ;[order[left], order[other]] = [order[other]!, order[left]!]
  }
  for (const page of order) expectPage(await client.read(page * PAGE, PAGE), page, version)
  return pages
}

function expectPage(bytes: Buffer, page: number, version: number): void {
  if (!bytes.equals(pageOf(page, version)))
    throw new Error(`page ${page} is not version ${version} of itself; ${REPEAT}`)
}

/** Reads a few pages at a time, most of them of a hot part, until told to stop or the connection is gone; returns how many it read. */
async function readAtRandom(
  client: SimpleNbdClient,
  pages: number,
  seed: number,
  stop: { now: boolean },
): Promise<number> {
  const random = new SeededRandom(seed)
  let reads = 0
  const run = async (): Promise<void> => {
    while (!stop.now) {
      const count = 1 + random.below(4)
      const page = random.below((random.below(4) > 0 ? pages / 4 : pages) - count)
      const bytes = await client.read(page * PAGE, count * PAGE).catch(() => null)
      if (bytes === null) return
      for (let index = 0; index < count; index++)
        expectPage(bytes.subarray(index * PAGE, (index + 1) * PAGE), page + index, 1)
      reads++
    }
  }
  await Promise.all(Array.from({ length: 4 }, run))
  return reads
}

describe('two I/O threads', () => {
  test('both serve hits, each page comes from the origin once, and each request is counted once', async () => {
    const pages = 1024
    const host = await hostWith(pages)
    const random = new SeededRandom(SEED)
    const clients = await clientsOf(host, 4)
    let reads = 0
    for (const client of clients) reads += await readAll(client, pages, 1, random)
    await until('the first pages in both indexes', async () => {
      reads += (await Promise.all(clients.map((client) => readAll(client, pages, 1, random)))).reduce((a, b) => a + b)
      return (await hitsByThread(host)).every((hits) => hits > pages)
    })
    const stats = await host.stats('base')
    expect(stats.reads).toBe(reads)
    expect(stats.originReads).toBeLessThanOrEqual(pages)
    const before = await hitsByThread(host)
    reads = (await Promise.all(clients.map((client) => readAll(client, pages, 1, random)))).reduce((a, b) => a + b)
    const after = await hitsByThread(host)
    expect(after.map((hits, thread) => hits - before[thread]!)).toEqual([reads / 2, reads / 2])

    // A clean end, with clients that are still there; the next engine is warm in both threads.
    expect(await host.end()).toBe(0)
    const again = await startHost({ directory: host.directory })
    await until('the whole index', async () => (await again.disk('base')).state === 'serving')
    const next = await clientsOf(again, 2)
    await until('a warm index in both threads', async () => {
      for (const client of next) await readAll(client, pages, 1, random)
      return (await hitsByThread(again)).every((hits) => hits > pages)
    })
    expect((await again.stats('base')).originReads).toBe(0)
  })

  test('a request of 32 MiB, and of sectors, by either thread', async () => {
    const pages = 32 * (MIB / PAGE)
    const host = await hostWith(pages)
    const clients = await clientsOf(host, 2)
    const image = pagesOf(0, pages, 1)
    for (let round = 0; round < 2; round++) {
      for (const client of clients) {
        expect((await client.read(0, 32 * MIB)).equals(image)).toBe(true)
        const at = 7 * PAGE + 512
        expect((await client.read(at, 1536)).equals(image.subarray(at, at + 1536))).toBe(true)
        await expect(client.write(0, Buffer.alloc(512))).rejects.toThrow('error 1')
        await client.flush()
      }
    }
  })
})

test('D2 D3: a small cache that reclaims all the time beside another disk, kills, and a detach, under many readers', async () => {
  const pages = 6144
  const host = await hostWith(pages, { maxBytes: 8 * MIB })
  const other = join(host.directory, 'other.raw')
  await writeFile(other, Buffer.alloc(120 * MIB))
  await host.attach('other', other)
  const stop = { now: false }
  const others = (async () => {
    // Takes every chunk that `base` gives back.
    for (let version = 2; !stop.now; version++) {
      const writer = await host.connect('other').catch(() => null)
      if (writer === null) continue
      await writePages(writer, 2048, version).catch(() => undefined)
      await writer.close()
    }
  })()
  for (let life = 0; life < 3; life++) {
    const clients = await clientsOf(host, 6)
    const running = clients.map((client, index) => readAtRandom(client, pages, SEED + life * 100 + index, stop))
    await until('reclaims, and hits in both threads', async () => {
      const { evictions } = await host.stats('base')
      return evictions > 1000 && (await hitsByThread(host)).every((hits) => hits > 200)
    })
    if (life < 2) await host.killEngine()
    else await host.detach('base')
    const reads = await Promise.all(running)
    expect(Math.min(...reads)).toBeGreaterThan(50)
  }
  stop.now = true
  await others
  expect((await host.cache()).state).toBe('open')
}, 180_000)

test('D3: after an invalidation no thread finds what the image held before', async () => {
  const pages = 256
  const host = await hostWith(pages)
  const clients = await clientsOf(host, 4)
  const random = new SeededRandom(SEED)
  for (let version = 1; version < 6; version++) {
    for (let round = 0; round < 3; round++) for (const client of clients) await readAll(client, pages, version, random)
    overwrite(host.image, 0, pagesOf(0, pages, version + 1))
    const { result } = await host.client.post(
      'disk.invalidate',
      { names: ['base'], all: false, exclude: [], dryRun: false },
      WAIT,
    )
    expect(result!.results[0]!.error).toBeNull()
    for (const client of clients)
      for (const page of [0, 100, 255]) expectPage(await client.read(page * PAGE, PAGE), page, version + 1)
  }
  expect((await hitsByThread(host)).every((hits) => hits > pages)).toBe(true)
})

test('D6: a page that rots on the device is read from the origin again, whichever thread meets it', async () => {
  const pages = 64
  const host = await hostWith(pages)
  const clients = await clientsOf(host, 2)
  const random = new SeededRandom(SEED)
  await until('hits in both threads', async () => {
    for (const client of clients) await readAll(client, pages, 1, random)
    return (await hitsByThread(host)).every((hits) => hits > pages)
  })
  const file = await open(host.deviceFile, 'r+')
  try {
    const device = await file.readFile()
    for (let page = 0; page < pages; page++) {
      const at = device.indexOf(pageOf(page, 1))
      if (at > 0) await file.write(Buffer.from('rotten'), 0, 6, at + 100)
    }
  } finally {
    await file.close()
  }
  for (const client of [clients[1]!, clients[0]!, clients[1]!]) await readAll(client, pages, 1, random)
  expect((await host.disk('base')).badPages).toBe(pages)
})

test('the log is given back and made anew while both threads read', async () => {
  const pages = 256
  const host = await hostWith(pages)
  const clients = await clientsOf(host, 4)
  const random = new SeededRandom(SEED)
  const stop = { now: false }
  const reading = clients.map((client, index) => readAtRandom(client, pages, index, stop))
  for (const mode of ['pass-through', 'write-through', 'pass-through', 'write-through'] as const) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    await host.client.post('disk.set', { name: 'base', mode, dryRun: false }, WAIT)
  }
  await new Promise((resolve) => setTimeout(resolve, 300))
  stop.now = true
  await Promise.all(reading)
  for (const client of clients) await readAll(client, pages, 1, random)
  await host.detach('base')
  await Promise.all(clients.map(({ closed }) => closed))
})
