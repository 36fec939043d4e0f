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
  test(
    'shows what is still dirty, can be cancelled, and then the disk is as it was',
    { timeout: 180_000 },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'export.img'), 16 * MIB)
      const socket = join(host.directory, 'export.sock')
      const slow = ['--filter=delay', 'file', image, 'wdelay=100ms']
      const { uri } = await startNbdkit(testProcesses(), socket, ...slow)
      await host.attach('web', uri, { mode: 'write-back', writeBack: KEPT_DIRTY, exclusive: true })
      const client = await host.connect('web')
      // Every second page: nothing of it goes to the origin in one piece.
      for (let page = 0; page < 2048; page += 2) await client.write(page * PAGE, pageOf(page, 1))
      const begin = (mode: string) =>
        host.client.post('disk.set', { name: 'web', mode, dryRun: false }, { waitMilliseconds: 0 })
      const { job } = await begin('write-through')
      const seen: number[] = []
      await until('progress', async () => {
        const { state, progress } = await showJob(host, job.id)
        expect(state).toBe('running')
        if (progress !== null) seen.push(progress.done)
        return seen.at(-1)! > seen[0]!
      })
      expect(await host.disk('web')).toMatchObject({ state: 'draining' })
      await host.client.post('job.cancel', { id: job.id })
      await until('the end of the job', async () => (await showJob(host, job.id)).state === 'cancelled')
      expect(await host.disk('web')).toMatchObject({ state: 'serving', mode: { inForce: 'write-back' } })
      expect((await host.disk('web')).dirtyBytes).toBeGreaterThan(0)

      // Begun again it ends; and beside it the disk is written.
      const { job: again } = await begin('write-through')
      await client.write(PAGE, pageOf(1, 1))
      await until('the end of the job', async () => (await showJob(host, again.id)).state === 'done', 120_000)
      expect(await host.disk('web')).toMatchObject({
        state: 'serving',
        dirtyBytes: 0,
        mode: { inForce: 'write-through' },
      })
      expect(findPages(image, [pageOf(0, 1), pageOf(1, 1), pageOf(2046, 1)])).toEqual([0, PAGE, 2046 * PAGE])
      await client.close()
    },
  )
})
