/** `cache scrub` on a real engine: while guests go on, everything that is cached is read back, and what is bad is mended or told. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { JobDocument, ScrubbedCache } from '../../src/protocol/control/documents.js'
import { attachLoopDevice, whyNoLoopDevices } from '../support/block-devices.js'
import { describeUnless } from '../support/conditions.js'
import { missing, pathOf } from '../support/packages.js'
import { must, run, until } from '../support/processes.js'
import {
  KEPT_DIRTY,
  MIB,
  PAGE,
  findPages,
  makeImage,
  overwrite,
  pageOf,
  startHost,
  temporaryDirectory,
  writePages,
  type Host,
} from './promises/host.js'

const PAGES = 2048
const VMCACHE = join(import.meta.dirname, '..', '..', 'bin', 'vmcache')

async function vmcache<Document>(host: Host, ...args: string[]): Promise<{ exit: number | null; document: Document }> {
  const env = { VMCACHE_USER: '1', VMCACHE_STATE_DIR: host.stateDir, VMCACHE_RUN_DIR: host.runDir }
  const { code, stdout } = await run(VMCACHE, [...args, '--json'], { env })
  return { exit: code, document: JSON.parse(stdout) as Document }
}

test(
  'D6: a scrub beside a guest finds what rots, and reads it from the origin again',
  { timeout: 120_000 },
  async () => {
    const host = await startHost({ configuration: 'io-threads: 2\n' })
    await host.createCache()
    const disks = ['web', 'db']
    for (const [index, name] of disks.entries()) {
      await host.attach(name, await makeImage(join(host.directory, `${name}.img`), PAGES * PAGE))
      const client = await host.connect(name)
      await writePages(client, PAGES, index + 1)
      await client.close()
    }
    const rotten = [5, 37, 1999]
    for (const place of findPages(host.deviceFile, [...rotten.map((page) => pageOf(page, 1)), pageOf(12, 2)]))
      overwrite(host.deviceFile, place + 200, Buffer.from('rot'))

    // A guest that never touches what rots.
    const guest = await host.connect('web')
    let isDone = false
    let rounds = 0
    const load = (async () => {
      for (; !isDone; rounds++) {
        const page = 100 + ((rounds * 7) % 1000)
        await guest.write(page * PAGE, pageOf(page, 1))
        expect((await guest.read(page * PAGE, PAGE)).equals(pageOf(page, 1))).toBe(true)
      }
    })()
    const { exit, document } = await vmcache<ScrubbedCache & { changed: boolean }>(host, 'cache', 'scrub', 'fast')
    isDone = true
    await load
    expect(rounds).toBeGreaterThan(10)
    expect({ exit, changed: document.changed, skipped: document.skipped }).toEqual({
      exit: 0,
      changed: true,
      skipped: [],
    })
    const web = document.disks.find(({ disk }) => disk === 'web')!
    expect(web).toMatchObject({ repairedPages: 3, droppedPages: 0, damagedPages: [] })
    expect(web.pages).toBeGreaterThanOrEqual(PAGES - 1000)
    expect(document.disks.find(({ disk }) => disk === 'db')).toMatchObject({ repairedPages: 1 })

    // Cached again: nobody asks the origin.
    const before = await host.stats('web')
    for (const page of rotten) expect((await guest.read(page * PAGE, PAGE)).equals(pageOf(page, 1))).toBe(true)
    const after = await host.stats('web')
    expect(after.originReads).toBe(before.originReads)
    expect(after).toMatchObject({ repairedPages: 3, scrubbedPages: web.pages })
    expect(await host.disk('web')).toMatchObject({ badPages: 3 })
    const events = (await host.events()).map(({ what }) => what)
    expect(events).toContain('disk.bad-pages')
    expect(events).toContain('cache.scrub')
    await guest.close()

    expect(await vmcache(host, 'cache', 'scrub', 'fast')).toMatchObject({ exit: 0, document: { changed: false } })
  },
)

test(
  'D5: what is damaged and only the cache has is named, and is no more than an error',
  { timeout: 120_000 },
  async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), 256 * PAGE)
    await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
    const client = await host.connect('web')
    await writePages(client, 256, 1)
    const { dirtyBytes } = await host.disk('web')
    expect(dirtyBytes).toBeGreaterThan(0)
    const [place] = findPages(host.deviceFile, [pageOf(37, 1)])
    overwrite(host.deviceFile, place! + 200, Buffer.from('rot'))
    expect(await vmcache(host, 'cache', 'scrub', 'fast')).toMatchObject({
      exit: 1,
      document: {
        disks: [{ disk: 'web', pages: 256, repairedPages: 0, damagedPages: [37] }],
        error: { code: 'CORRUPT' },
      },
    })
    await expect(client.read(37 * PAGE, PAGE)).rejects.toMatchObject({ errno: 5 })
    expect((await client.read(36 * PAGE, PAGE)).equals(pageOf(36, 1))).toBe(true)
    expect(await host.disk('web')).toMatchObject({ dirtyBytes })
    expect((await host.events()).find(({ what }) => what === 'disk.damaged-pages')).toMatchObject({
      disk: 'web',
      why: expect.stringContaining('37'),
    })
    await client.close()
  },
)

test('S3: a scrub is a job that shows how far it is, and can be cancelled', { timeout: 120_000 }, async () => {
  const host = await startHost()
  await host.createCache()
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE))
  const client = await host.connect('web')
  await writePages(client, PAGES, 1)
  await client.close()
  const { document: job } = await vmcache<JobDocument>(host, 'cache', 'scrub', 'fast', '--rate', '256k', '--no-wait')
  expect(job).toMatchObject({ kind: 'cache.scrub', object: 'cache fast', state: 'running' })
  const { progress } = await until('progress', async () => {
    const shown = await host.client.get('job.show', { id: job.id, waitMilliseconds: 0 })
    return shown.progress === null ? null : shown
  })
  expect(progress).toMatchObject({ total: PAGES, unit: 'pages', note: 'web' })
  // Another rate is another wish; the same one joins.
  expect(await vmcache(host, 'cache', 'scrub', 'fast')).toMatchObject({ exit: 4 })
  expect((await vmcache<JobDocument>(host, 'cache', 'scrub', 'fast', '--rate', '256k', '--no-wait')).document.id).toBe(
    job.id,
  )
  await vmcache(host, 'job', 'cancel', job.id)
  const ended = await host.client.get('job.show', { id: job.id, waitMilliseconds: 5000 })
  expect(ended).toMatchObject({ state: 'cancelled', error: { code: 'INTERRUPTED' } })
  // It begins anew.
  expect(await vmcache(host, 'cache', 'scrub', 'fast')).toMatchObject({
    exit: 0,
    document: { disks: [{ pages: PAGES }] },
  })
})

describeUnless(missing(['mke2fs']) ?? (await whyNoLoopDevices()), 'D6: what rots on the device', () => {
  test('is found although memory has it as it was', { timeout: 120_000 }, async () => {
    const storage = await temporaryDirectory()
    const [disk, directory] = [join(storage, 'disk'), join(storage, 'mounted')]
    await makeImage(disk, 256 * MIB)
    await mkdir(directory)
    const loop = await attachLoopDevice(disk)
    onTestFinished(() => loop.detach())
    await must(pathOf('mke2fs'), ['-q', '-t', 'ext4', loop.path])
    await must('mount', [loop.path, directory])
    onTestFinished(() => must('umount', ['--lazy', directory]).then(() => undefined))

    const host = await startHost()
    const path = join(directory, 'ssd.img')
    await host.createCache({ path, sizeBytes: 65 * MIB })
    await host.attach('web', await makeImage(join(host.directory, 'web.img'), 256 * PAGE))
    const client = await host.connect('web')
    await writePages(client, 256, 1)
    await must('sync', ['-f', path])
    const [place] = await until('the page on the device', () => {
      const places = findPages(disk, [pageOf(37, 1)])
      return places.length > 0 ? places : null
    })
    overwrite(disk, place! + 200, Buffer.from('rot'))
    expect(findPages(path, [pageOf(37, 1)])).toHaveLength(1)
    expect(await vmcache(host, 'cache', 'scrub', 'fast')).toMatchObject({
      exit: 0,
      document: { changed: true, disks: [{ disk: 'web', repairedPages: 1 }] },
    })
    expect((await client.read(37 * PAGE, PAGE)).equals(pageOf(37, 1))).toBe(true)
    await client.close()
    expect(await host.end()).toBe(0)
  })
})
