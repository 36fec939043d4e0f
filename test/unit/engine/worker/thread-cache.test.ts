import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { ChunkPlace } from '../../../../src/engine/pool/pool.js'
import { ThreadCache } from '../../../../src/engine/worker/thread-cache.js'

const MIB = 2 ** 20

async function cacheOf(): Promise<{ cache: ThreadCache; wanted: () => number; given: ChunkPlace[] }> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  const path = join(directory, 'ssd.img')
  const file = await open(path, 'w')
  await file.truncate(16 * MIB)
  await file.close()
  let wanted = 0
  const given: ChunkPlace[] = []
  const cache = await ThreadCache.open(
    {
      cacheId: 'cd'.repeat(16),
      chunkBytes: MIB,
      firstChunkOffset: MIB,
      devices: [path],
      spareCount: new SharedArrayBuffer(4),
    },
    {
      want: () => wanted++,
      give: (chunks) => given.push(...chunks),
      failed: () => {},
      left: () => {},
    },
  )
  onTestFinished(async () => {
    await cache.close()
    await rm(directory, { recursive: true })
  })
  return { cache, wanted: () => wanted, given }
}

function placeOf(index: number): ChunkPlace {
  return { deviceIndex: 0, index, generation: 1 }
}

it('asks for one chunk at a time, ahead of need', async () => {
  const { cache, wanted } = await cacheOf()
  expect(cache.take(undefined)).toBeUndefined()
  expect(cache.take(undefined)).toBeUndefined()
  expect(wanted()).toBe(1)
  cache.granted([placeOf(3)], false)
  expect(wanted()).toBe(1)
  expect(cache.take(undefined)).toMatchObject({ index: 3, offset: 4 * MIB })
  expect(wanted()).toBe(2)
})

it('does not ask again where there is none: the next one comes unasked; who waits hears of each once', async () => {
  const { cache, wanted } = await cacheOf()
  let woken = 0
  const wait = (): void => cache.whenChanged(() => (woken++, wait()))
  wait()
  cache.granted([], true)
  expect([cache.exhausted, woken, wanted()]).toEqual([true, 1, 1])
  cache.granted([], true)
  expect([woken, wanted()]).toEqual([1, 1])
  cache.granted([placeOf(1)], true)
  expect([woken, wanted()]).toEqual([2, 1])
})

it('asks again when it hears that there is more', async () => {
  const { cache, wanted } = await cacheOf()
  cache.prepare()
  cache.granted([placeOf(1)], true)
  let woken = 0
  cache.whenChanged(() => woken++)
  cache.granted([], false)
  expect([cache.exhausted, woken, wanted()]).toEqual([false, 1, 1])
  cache.take(undefined)
  expect(wanted()).toBe(2)
})

it('keeps two free chunks, and gives back what is more and what is of a device that is removed', async () => {
  const { cache, given } = await cacheOf()
  const chunks = [1, 2, 3].map((index) => cache.chunkAt(placeOf(index)))
  for (const chunk of chunks) cache.give(chunk)
  expect(given).toEqual([placeOf(3)])
  cache.retire(0)
  expect(given).toEqual([placeOf(3), placeOf(1), placeOf(2)])
  cache.granted([placeOf(4)], false)
  expect(given.at(-1)).toEqual(placeOf(4))
})

it('keeps no free chunk while others need them', async () => {
  const { cache, given } = await cacheOf()
  cache.granted([placeOf(1), placeOf(2)], true)
  cache.collect(true)
  expect(given.map(({ index }) => index)).toEqual([1, 2])
  expect(cache.take(undefined)).toBeUndefined()
  cache.give(cache.chunkAt(placeOf(3)))
  expect(given.map(({ index }) => index)).toEqual([1, 2, 3])
  cache.collect(false)
  cache.give(cache.chunkAt(placeOf(4)))
  expect(cache.take(undefined)).toMatchObject({ index: 4 })
})
