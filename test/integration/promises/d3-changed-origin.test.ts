/** D3: what changed at the origin while the cache was off is what is read; what cannot be known to be the same is dropped. */
import { execFileSync } from 'node:child_process'
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { attachLoopDevice, whyNoLoopDevices } from '../../support/block-devices.js'
import { describeUnless } from '../../support/conditions.js'
import { describeWith } from '../../support/packages.js'
import type { SimpleNbdClient } from '../../support/simple-nbd-client.js'
import {
  MIB,
  KEPT_DIRTY,
  PAGE,
  findPages,
  makeImage,
  overwrite,
  pageOf,
  pagesOf,
  readPages,
  startHost,
  startNbdkit,
  testProcesses,
  type Host,
} from './host.js'

const PAGES = 64
const CHANGED = 7
const pagesWithVersion1 = Array.from({ length: PAGES }, (_, page) => pageOf(page, 1))
/** After so long without a write the log says that the origin has all of it. */
const SETTLE_MILLISECONDS = 300

/** Fills the disk with version 1, and the cache with it. */
async function warm(host: Host): Promise<void> {
  const client = await host.connect('web')
  await client.write(0, pagesOf(0, PAGES, 1))
  await client.flush()
  await host.flush('web')
  await readPages(client, PAGES)
  await client.close()
  // What a kill finds unsettled is read from the origin again, by whatever else holds.
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MILLISECONDS))
}

async function expectPages(client: SimpleNbdClient, changed: number): Promise<void> {
  for (const [page, bytes] of (await readPages(client, PAGES)).entries()) {
    expect(bytes.equals(pageOf(page, page === CHANGED ? changed : 1)), `page ${page}`).toBe(true)
  }
}

/** Reads all pages of the next engine: page `CHANGED` has this version; returns how many of the reads were hits. */
async function readAll(host: Host, changed: number): Promise<number> {
  const client = await host.connect('web')
  await expectPages(client, changed)
  await client.close()
  return (await host.stats('web')).readHits
}

const whyDropped = async (host: Host) => (await host.events()).find(({ what }) => what === 'disk.pages-dropped')?.why

/** How an engine ends, and the one that comes after it. */
const ENDS: [string, (host: Host, meanwhile: () => void) => Promise<Host>][] = [
  [
    'a clean stop',
    async (host, meanwhile) => {
      expect(await host.end()).toBe(0)
      meanwhile()
      return startHost({ directory: host.directory })
    },
  ],
  [
    'a kill of engine and supervisor',
    async (host, meanwhile) => {
      const pid = host.enginePid()
      await host.end('SIGKILL')
      process.kill(pid, 'SIGKILL')
      meanwhile()
      return startHost({ directory: host.directory })
    },
  ],
]

describe.each(ENDS)('D3: an image after %s', (_name, end) => {
  test('that was written meanwhile is read as it is', async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
    await host.attach('web', image)
    await warm(host)
    const next = await end(host, () => overwriteLater(image))
    expect(await readAll(next, 2)).toBe(0)
    expect(await whyDropped(next)).toBeTypeOf('string')
  })

  test.each(['write-through', 'write-back'] as const)('that was left alone is warm (%s)', async (mode) => {
    const host = await startHost()
    await host.createCache()
    await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE), { mode })
    await warm(host)
    const next = await end(host, () => {})
    expect(await readAll(next, 1)).toBe(PAGES)
  })
})

test('D3: an image that was written after a clean stop of its disk in write-back is read as it is', async () => {
  const host = await startHost()
  await host.createCache()
  const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
  await host.attach('web', image, { mode: 'write-back' })
  await warm(host)
  expect(await host.end()).toBe(0)
  overwriteLater(image)
  const next = await startHost({ directory: host.directory })
  expect(await readAll(next, 2)).toBe(0)
  expect(await whyDropped(next)).toBeTypeOf('string')
})

describeWith(['nbdkit'], 'D3: an NBD origin, which shows no times', () => {
  async function hostWithExport(exclusive: boolean): Promise<{ host: Host; image: string }> {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
    const { uri } = await startNbdkit(testProcesses(), join(host.directory, 'export.sock'), 'file', image)
    await host.attach('web', uri, { exclusive })
    await warm(host)
    return { host, image }
  }

  test.each([
    ['is dropped after every gap in holding it', false, 2, 0],
    ['is believed where the attachment says --exclusive', true, 1, PAGES],
  ])('%s', async (_name, exclusive, version, hits) => {
    const { host, image } = await hostWithExport(exclusive)
    expect(await host.end()).toBe(0)
    overwrite(image, CHANGED * PAGE, pageOf(CHANGED, 2))
    const next = await startHost({ directory: host.directory })
    expect(await readAll(next, version)).toBe(hits)
  })

  test('is warm after a kill under the same supervisor: nobody else could have it', async () => {
    const { host } = await hostWithExport(false)
    await host.killEngine()
    expect(await readAll(host, 1)).toBe(PAGES)
  })
})

const noLoop = await whyNoLoopDevices()

describeUnless(noLoop, 'D3: a block device', () => {
  test('is dropped after every gap in holding it', async () => {
    const host = await startHost()
    await host.createCache()
    const backing = await makeImage(join(host.directory, 'lun'), MIB)
    const loop = await attachLoopDevice(backing)
    onTestFinished(() => loop.detach())
    await host.attach('web', loop.path)
    await warm(host)
    expect(await host.end()).toBe(0)
    overwrite(loop.path, CHANGED * PAGE, pageOf(CHANGED, 2))
    const next = await startHost({ directory: host.directory })
    expect(await readAll(next, 2)).toBe(0)
    expect(await next.end()).toBe(0)
  })
})

test('D3: an image that was put back from an older copy, with its times, is read as it is', async () => {
  const host = await startHost()
  await host.createCache()
  const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
  overwrite(image, CHANGED * PAGE, pageOf(CHANGED, 2))
  execFileSync('cp', ['-p', image, `${image}.backup`])
  await host.attach('web', image)
  await warm(host)
  expect(await host.end()).toBe(0)
  execFileSync('cp', ['-p', `${image}.backup`, image])
  const next = await startHost({ directory: host.directory })
  const client = await next.connect('web')
  expect((await client.read(CHANGED * PAGE, PAGE)).equals(pageOf(CHANGED, 2))).toBe(true)
  await client.close()
})

/** As somebody who writes the image a minute later: what comes within seconds of our own last write can be told from it only after a clean end. */
function overwriteLater(image: string): void {
  overwrite(image, CHANGED * PAGE, pageOf(CHANGED, 2))
  const later = Date.now() / 1000 + 60
  utimesSync(image, later, later)
}

describe('D3: an image that was written while the cache held what it lacks', () => {
  test('stops its disk, and neither the image nor the dirty data is touched', { timeout: 120_000 }, async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
    await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
    const client = await host.connect('web')
    await client.write(0, pagesOf(0, PAGES, 1))
    await client.flush()
    await client.close()
    const pid = host.enginePid()
    await host.end('SIGKILL')
    process.kill(pid, 'SIGKILL')
    overwriteLater(image)

    const next = await startHost({ directory: host.directory })
    expect(await next.disk('web')).toMatchObject({ state: 'changed', reason: expect.stringContaining('web.img') })
    await expect(next.connect('web')).rejects.toThrow()
    for (const force of [false, true]) {
      await expect(next.detach('web', { force })).rejects.toMatchObject({
        code: expect.stringMatching(/DIRTY|CHANGED/),
      })
    }
    expect(findPages(image, [pageOf(CHANGED, 2)])).toEqual([CHANGED * PAGE])
    expect(findPages(image, [pageOf(CHANGED, 1), pageOf(0, 1)])).toEqual([])
    expect(findPages(host.deviceFile, pagesWithVersion1)).toHaveLength(PAGES)
  })
})

describeWith(['nbdkit'], 'D3: a miss that is under way while its pages are changed', () => {
  test('brings nothing older into the cache of a disk in write-back', async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
    overwrite(image, 0, Buffer.concat(pagesWithVersion1))
    const slow = ['--filter=delay', 'file', image, 'rdelay=500ms']
    const { uri } = await startNbdkit(testProcesses(), join(host.directory, 'export.sock'), ...slow)
    await host.attach('web', uri, { mode: 'write-back', exclusive: true })
    const client = await host.connect('web')

    const [written, partly, zeroed, untouched] = [5, 21, 37, 53]
    const misses = [written, partly, zeroed, untouched].map((page) => client.read(page * PAGE, PAGE))
    await new Promise((resolve) => setTimeout(resolve, 150))
    await client.write(written * PAGE, pageOf(written, 2))
    await client.write(partly * PAGE + 512, pageOf(partly, 2).subarray(512, 1024))
    await client.writeZeroes(zeroed * PAGE, PAGE)
    await Promise.all(misses)

    const joined = pageOf(partly, 1)
    pageOf(partly, 2).copy(joined, 512, 512, 1024)
    const expectNow = async (reader: SimpleNbdClient): Promise<void> => {
      expect((await reader.read(written * PAGE, PAGE)).equals(pageOf(written, 2)), 'written').toBe(true)
      expect((await reader.read(partly * PAGE, PAGE)).equals(joined), 'written in part').toBe(true)
      expect((await reader.read(zeroed * PAGE, PAGE)).equals(Buffer.alloc(PAGE)), 'zeroed').toBe(true)
      expect((await reader.read(untouched * PAGE, PAGE)).equals(pageOf(untouched, 1)), 'untouched').toBe(true)
    }
    await expectNow(client)
    await host.flush('web')
    await expectNow(client)
    await client.close()
    await host.killEngine()
    const reader = await host.connect('web')
    await expectNow(reader)
    await reader.close()
  })
})
