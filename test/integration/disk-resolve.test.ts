/** A disk whose origin changed while only its cache had what its guest wrote last: a human decides which of them it goes on from. */
import { readFile } from 'node:fs/promises'
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import { run, until } from '../support/processes.js'
import { PAGE, makeImage, overwrite, pageOf, readPages, startHost, writePages, type Host } from './promises/host.js'

const PAGES = 64
const CHANGED = 7
const VMCACHE = join(import.meta.dirname, '..', '..', 'bin', 'vmcache')

async function vmcache(
  host: Host,
  ...args: string[]
): Promise<{ exit: number | null; document: Record<string, unknown> }> {
  const env = { VMCACHE_USER: '1', VMCACHE_STATE_DIR: host.stateDir, VMCACHE_RUN_DIR: host.runDir }
  const { code, stdout } = await run(VMCACHE, [...args, '--json'], { env })
  return { exit: code, document: JSON.parse(stdout) as Record<string, unknown> }
}

/** Pages of version 1 are in the cache alone when the host fails; page 7 of the image is then version 9, by somebody else. */
async function changedHost(): Promise<{ host: Host; image: string }> {
  const before = await startHost()
  await before.createCache()
  const image = await makeImage(join(before.directory, 'web.img'), PAGES * PAGE)
  await before.attach('web', image, {
    mode: 'write-back',
    writeBack: { ...DEFAULT_WRITE_BACK, dirtyAgeSeconds: 3600 },
  })
  const client = await before.connect('web')
  await writePages(client, PAGES, 1)
  const engine = before.enginePid()
  await before.end('SIGKILL')
  try {
    process.kill(engine, 'SIGKILL')
  } catch {
    // It went with its supervisor.
  }
  expect((await readFile(image)).every((byte) => byte === 0)).toBe(true)
  overwrite(image, CHANGED * PAGE, pageOf(CHANGED, 9))
  const later = Date.now() / 1000 + 60
  utimesSync(image, later, later)
  const host = await startHost({ directory: before.directory })
  await until('the disk waits', async () => (await host.disk('web')).state === 'changed')
  return { host, image }
}

async function versions(host: Host): Promise<boolean[]> {
  const client = await host.connect('web')
  const pages = await readPages(client, PAGES)
  await client.close()
  return pages.map((bytes, page) => bytes.equals(pageOf(page, 1)))
}

test('disk resolve --keep cache: the origin gets what only the cache had', { timeout: 120_000 }, async () => {
  const { host, image } = await changedHost()
  expect(await vmcache(host, 'disk', 'resolve', 'web', '--keep', 'cache')).toMatchObject({
    exit: 0,
    document: { changed: true, writtenBytes: PAGES * PAGE, lostPages: [], disk: { dirtyBytes: 0 } },
  })
  expect(await versions(host)).not.toContain(false)
  const bytes = await readFile(image)
  for (let page = 0; page < PAGES; page++)
    expect(bytes.subarray(page * PAGE, (page + 1) * PAGE).equals(pageOf(page, 1)), `page ${page}`).toBe(true)
  expect(await vmcache(host, 'disk', 'resolve', 'web', '--keep', 'cache')).toMatchObject({
    document: { changed: false },
  })
})

test(
  'D5: disk resolve --keep origin loses what the cache has only with --discard-dirty',
  { timeout: 120_000 },
  async () => {
    const { host, image } = await changedHost()
    const before = await readFile(image)
    const resolve = ['disk', 'resolve', 'web', '--keep', 'origin']
    expect(await vmcache(host, ...resolve)).toMatchObject({ exit: 7, document: { error: { code: 'DIRTY_DATA' } } })
    expect(await host.disk('web')).toMatchObject({ state: 'changed' })
    expect(await vmcache(host, ...resolve, '--discard-dirty')).toMatchObject({ exit: 0 })
    expect(await versions(host)).not.toContain(true)
    expect(await readFile(image)).toEqual(before)
    const { chunks } = await host.cache()
    expect(chunks.disk).toBeLessThanOrEqual(5)
  },
)
