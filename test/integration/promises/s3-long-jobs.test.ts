/** S3: a long operation shows how far it is, can be cancelled, and after a crash in its middle nothing is in the way of doing it again. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { JobDocument } from '../../../src/protocol/control/documents.js'
import { describeWith } from '../../support/packages.js'
import { until } from '../../support/processes.js'
import {
  KEPT_DIRTY,
  MIB,
  PAGE,
  findPages,
  makeImage,
  pageOf,
  startHost,
  startNbdkit,
  testProcesses,
  type Host,
} from './host.js'

const DEVICE_BYTES = 1536 * MIB

/** Begins to make a cache on a file that is written full, which takes seconds. */
async function beginCreate(host: Host): Promise<JobDocument> {
  const request = {
    name: 'fast',
    devices: [{ path: host.deviceFile, sizeBytes: DEVICE_BYTES }],
    blockSizeBytes: 4096,
    chunkSizeBytes: MIB,
    force: false,
    dryRun: false,
  }
  return (await host.client.post('cache.create', request, { waitMilliseconds: 0 })).job
}

const showJob = (host: Host, id: string) => host.client.get('job.show', { id, waitMilliseconds: 0 })

/** Ends when the job has done a part of its work. */
function inItsMiddle(host: Host, id: string) {
  return until('progress', async () => {
    const { state, progress } = await showJob(host, id)
    expect(state).toBe('running')
    return progress !== null && progress.done > DEVICE_BYTES / 10
  })
}

describe('S3: a long operation', () => {
  test('shows progress that only rises, and ends', { timeout: 120_000 }, async () => {
    const host = await startHost()
    const { id, state } = await beginCreate(host)
    expect(state).toBe('running')
    const seen: number[] = []
    const job = await until(
      'the end of the job',
      async () => {
        const now = await showJob(host, id)
        if (now.progress !== null) {
          expect(now.progress).toMatchObject({ total: DEVICE_BYTES, unit: 'bytes' })
          seen.push(now.progress.done)
        }
        return now.state === 'running' ? null : now
      },
      90_000,
    )
    expect(job).toMatchObject({ state: 'done', error: null })
    expect(new Set(seen).size).toBeGreaterThan(3)
    expect(seen).toEqual([...seen].sort((one, other) => one - other))
    expect(await host.cache()).toMatchObject({ state: 'open' })
  })

  test('that is cancelled leaves nothing', { timeout: 120_000 }, async () => {
    const host = await startHost()
    const { id } = await beginCreate(host)
    await inItsMiddle(host, id)
    await host.client.post('job.cancel', { id })
    const job = await until('the end of the job', async () => {
      const now = await showJob(host, id)
      return now.state === 'running' ? null : now
    })
    expect(job).toMatchObject({ state: 'cancelled', error: { code: 'INTERRUPTED' } })
    expect(existsSync(host.deviceFile)).toBe(false)
    expect((await host.client.get('cache.list', {})).caches).toEqual([])
  })

  test(
    'in whose middle the engine dies is told as failed, and is done by the same command',
    { timeout: 120_000 },
    async () => {
      const host = await startHost()
      const { id } = await beginCreate(host)
      await inItsMiddle(host, id)
      await host.killEngine()
      const job = await showJob(host, id)
      expect(job).toMatchObject({ state: 'failed', error: { hint: 'repeat the command' } })
      expect((await host.client.get('cache.list', {})).caches).toEqual([])

      await host.createCache({ path: host.deviceFile, sizeBytes: DEVICE_BYTES })
      expect(await host.cache()).toMatchObject({ state: 'open' })
      expect((await readdir(host.directory)).filter((name) => name.startsWith('ssd'))).toEqual(['ssd.img'])
    },
  )
})

describeWith(['nbdkit'], 'S3: the end of write-back', () => {
  const DIRTY_PAGES = 1024

  /** A disk whose origin takes minutes for what is dirty if nobody hurries it, and a client that wrote every second page. */
  async function dirtyDisk() {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), 16 * MIB)
    // One thread: with several, nbdkit 1.32 now and then aborts when a client dies whose requests are delayed.
    const slow = ['--threads=1', '--filter=delay', 'file', image, 'wdelay=8ms']
    const { uri } = await startNbdkit(testProcesses(), join(host.directory, 'export.sock'), ...slow)
    await host.attach('web', uri, { mode: 'write-back', writeBack: KEPT_DIRTY, exclusive: true })
    const client = await host.connect('web')
    // Nothing of it goes to the origin in one piece.
    for (let page = 0; page < 2 * DIRTY_PAGES; page += 2) await client.write(page * PAGE, pageOf(page, 1))
    await client.flush()
    return { host, image, client }
  }

  const leave = async (host: Host): Promise<string> =>
    (await host.client.post('disk.set', { name: 'web', mode: 'write-through', dryRun: false }, { waitMilliseconds: 0 }))
      .job.id

  /** Ends when the job has done a part of its work, and more than it had done before. */
  async function progressOf(host: Host, id: string): Promise<void> {
    const seen: number[] = []
    await until('progress', async () => {
      const { state, progress } = await showJob(host, id)
      expect(state).toBe('running')
      if (progress !== null) seen.push(progress.done)
      return seen.at(-1)! > seen[0]!
    })
    expect(await host.disk('web')).toMatchObject({ state: 'draining' })
  }

  /** Ends when the job is done; then the origin has all that was written. */
  async function expectEnd(host: Host, id: string, image: string): Promise<void> {
    await until('the end of the job', async () => (await showJob(host, id)).state === 'done', 120_000)
    expect(await host.disk('web')).toMatchObject({
      state: 'serving',
      dirtyBytes: 0,
      mode: { inForce: 'write-through' },
    })
    const written = Array.from({ length: DIRTY_PAGES }, (_, index) => 2 * index)
    expect(
      findPages(
        image,
        written.map((page) => pageOf(page, 1)),
      ),
    ).toEqual(written.map((page) => page * PAGE))
  }

  test(
    'shows what is still dirty, can be cancelled, and then the disk is as it was',
    { timeout: 180_000 },
    async () => {
      const { host, image, client } = await dirtyDisk()
      const id = await leave(host)
      await progressOf(host, id)
      await host.client.post('job.cancel', { id })
      await until('the end of the job', async () => (await showJob(host, id)).state === 'cancelled')
      expect(await host.disk('web')).toMatchObject({ state: 'serving', mode: { inForce: 'write-back' } })
      expect((await host.disk('web')).dirtyBytes).toBeGreaterThan(0)

      // Begun again it ends; and beside it the disk is written.
      const again = await leave(host)
      await client.write(PAGE, pageOf(1, 1))
      await expectEnd(host, again, image)
      expect(findPages(image, [pageOf(1, 1)])).toEqual([PAGE])
      await client.close()
    },
  )

  test(
    'in whose middle the engine dies is told as failed, leaves the disk as it was, and is done by the same command',
    { timeout: 180_000 },
    async () => {
      const { host, image, client } = await dirtyDisk()
      await client.close()
      const id = await leave(host)
      await progressOf(host, id)
      await host.killEngine()
      expect(await showJob(host, id)).toMatchObject({ state: 'failed', error: { hint: 'repeat the command' } })
      await expect.poll(() => host.disk('web'), { timeout: 60_000 }).toMatchObject({ state: 'serving' })
      const disk = await host.disk('web')
      expect(disk.mode).toMatchObject({ wanted: 'write-back', inForce: 'write-back' })
      expect(disk.dirtyBytes).toBeGreaterThan(0)
      const reader = await host.connect('web')
      for (let page = 0; page < 2 * DIRTY_PAGES; page += 64)
        expect((await reader.read(page * PAGE, PAGE)).equals(pageOf(page, 1)), `page ${page}`).toBe(true)
      await reader.close()
      await expectEnd(host, await leave(host), image)
    },
  )
})
