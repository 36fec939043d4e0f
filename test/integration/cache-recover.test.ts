/** A host whose engine is gone, with writes in its cache: they are written to the image without one, and the next engine knows. */
import { readFile } from 'node:fs/promises'
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import { run } from '../support/processes.js'
import { PAGE, makeImage, overwrite, pageOf, readPages, startHost, writePages, type Host } from './promises/host.js'

const PAGES = 64
const VMCACHE = join(import.meta.dirname, '..', '..', 'bin', 'vmcache')

async function recover(
  host: Host,
  ...args: string[]
): Promise<{ exit: number | null; document: Record<string, unknown> }> {
  const env = { VMCACHE_USER: '1', VMCACHE_STATE_DIR: host.stateDir, VMCACHE_RUN_DIR: host.runDir }
  const { code, stdout } = await run(VMCACHE, ['cache', 'recover', ...args, '--json'], { env })
  return { exit: code, document: JSON.parse(stdout) as Record<string, unknown> }
}

/** Version 1 of all pages is in the cache alone; the engine has died, and is not started again. */
async function deadHost(): Promise<{ host: Host; image: string }> {
  const host = await startHost()
  await host.createCache()
  const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
  await host.attach('web', image, { mode: 'write-back', writeBack: { ...DEFAULT_WRITE_BACK, dirtyAgeSeconds: 3600 } })
  const client = await host.connect('web')
  await writePages(client, PAGES, 1)
  expect(await recover(host, 'fast')).toMatchObject({ exit: 4, document: { error: { code: 'IN_USE' } } })
  const engine = host.enginePid()
  await host.end('SIGKILL')
  try {
    process.kill(engine, 'SIGKILL')
  } catch {
    // It went with its supervisor.
  }
  return { host, image }
}

async function versionsOf(image: string): Promise<boolean[]> {
  const bytes = await readFile(image)
  return Array.from({ length: PAGES }, (_, page) =>
    bytes.subarray(page * PAGE, (page + 1) * PAGE).equals(pageOf(page, 1)),
  )
}

test(
  'what was dirty is in the image, its stamp says so, and the next engine is warm',
  { timeout: 120_000 },
  async () => {
    const { host, image } = await deadHost()
    const stamp = `${image}.vmcache`
    const before = await readFile(stamp, 'utf8')
    const disk = { disk: 'web', origin: image, ok: true }
    expect(await recover(host, 'fast', '--dry-run')).toMatchObject({
      exit: 0,
      document: { dryRun: true, disks: [{ ...disk, writtenBytes: 0 }] },
    })
    expect(await versionsOf(image)).not.toContain(true)
    expect(await recover(host, 'fast', '--disk', 'other')).toMatchObject({
      exit: 0,
      document: { changed: false, disks: [] },
    })
    expect(await recover(host, 'fast')).toMatchObject({
      exit: 0,
      document: { changed: true, disks: [{ ...disk, writtenBytes: PAGES * PAGE, lostPages: [], error: null }] },
    })
    expect(await versionsOf(image)).not.toContain(false)
    expect(await readFile(stamp, 'utf8')).not.toBe(before)
    expect(await recover(host, 'fast')).toMatchObject({ exit: 0, document: { changed: false, disks: [] } })

    const next = await startHost({ directory: host.directory })
    expect(await next.disk('web')).toMatchObject({ state: 'serving', dirtyBytes: 0 })
    const client = await next.connect('web')
    for (const [page, bytes] of (await readPages(client, PAGES)).entries())
      expect(bytes.equals(pageOf(page, 1)), `page ${page}`).toBe(true)
    await client.close()
    expect((await next.stats('web')).readHits).toBe(PAGES)
  },
)

test('by its devices, without any state', { timeout: 120_000 }, async () => {
  const { host, image } = await deadHost()
  const elsewhere = { ...host, stateDir: join(host.directory, 'none'), runDir: join(host.directory, 'none') }
  expect(await recover(elsewhere, 'fast')).toMatchObject({ exit: 3, document: { error: { code: 'CACHE_NOT_FOUND' } } })
  expect(await recover(elsewhere, '--device', host.deviceFile)).toMatchObject({ exit: 0, document: { changed: true } })
  expect(await versionsOf(image)).not.toContain(false)
})

test('D3: an image that somebody else wrote is left alone', { timeout: 120_000 }, async () => {
  const { host, image } = await deadHost()
  overwrite(image, 0, pageOf(0, 9))
  const later = Date.now() / 1000 + 60
  utimesSync(image, later, later)
  const before = await readFile(image)
  expect(await recover(host, 'fast')).toMatchObject({
    exit: 7,
    document: { disks: [{ ok: false }], error: { code: 'ORIGIN_CHANGED' } },
  })
  expect(await readFile(image)).toEqual(before)
})
