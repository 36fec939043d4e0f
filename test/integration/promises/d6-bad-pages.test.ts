/** D6: a page that the cache device has lost or changed is never served: it is read from the origin again, repaired and counted. */
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { until } from '../../support/processes.js'
import { KEPT_DIRTY, PAGE, findPages, makeImage, overwrite, pageOf, readPages, startHost, writePages } from './host.js'

const PAGES = 512
const MODES = ['write-through', 'write-back'] as const

test.each(MODES)('D6: bytes that change in the cache file under the engine are never served (%s)', async (mode) => {
  const host = await startHost()
  await host.createCache()
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE), { mode })
  const client = await host.connect('web')
  await writePages(client, PAGES, 1)
  // From here on the origin has all of it.
  await host.flush('web')
  const content = Array.from({ length: PAGES }, (_, page) => pageOf(page, 1))
  expect(await readPages(client, PAGES)).toEqual(content)
  const warm = await host.stats('web')
  expect(warm.originReads).toBe(0)

  const places = findPages(host.deviceFile, content)
  expect(places.length).toBeGreaterThanOrEqual(PAGES)
  // Every second page, at another place in each: one byte.
  const flipped = places.filter((_, index) => index % 2 === 0)
  for (const [index, at] of flipped.entries())
    overwrite(host.deviceFile, at + (index % PAGE), Buffer.from([0x5a ^ index]))

  expect(await readPages(client, PAGES)).toEqual(content)
  const { badPages } = await host.disk('web')
  expect(badPages).toBeGreaterThan(PAGES / 4)
  expect((await host.stats('web')).originReads).toBeGreaterThan(0)
  const events = await until('the event', async () => {
    const bad = (await host.events()).filter(({ what }) => what === 'disk.bad-pages')
    return bad.length > 0 ? bad : null
  })
  expect(events[0]).toMatchObject({ disk: 'web', cache: 'fast' })
  expect(await host.attention()).toMatchObject([{ object: 'disk web', mend: expect.stringContaining('smartctl') }])

  // Repaired: all of it is read from the cache again.
  const before = await host.stats('web')
  expect(await readPages(client, PAGES)).toEqual(content)
  const after = await host.stats('web')
  expect(after.readHits - before.readHits).toBe(PAGES)
  expect((await host.disk('web')).badPages).toBe(badPages)
  await client.close()
})

test('D6: nor are those that changed while it was off; a bad page costs no other its place', async () => {
  const host = await startHost()
  await host.createCache()
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE))
  const client = await host.connect('web')
  await writePages(client, PAGES, 1)
  await client.flush()
  await client.close()
  expect(await host.end()).toBe(0)
  const content = Array.from({ length: PAGES }, (_, page) => pageOf(page, 1))
  const [place] = findPages(host.deviceFile, [content[37]!])
  overwrite(host.deviceFile, place! + 100, Buffer.from('changed'))

  const next = await startHost({ directory: host.directory })
  await until('a read index', async () => (await next.disk('web')).state === 'serving')
  const reader = await next.connect('web')
  expect(await readPages(reader, PAGES)).toEqual(content)
  expect(await next.disk('web')).toMatchObject({ badPages: 1 })
  expect((await next.stats('web')).readHits).toBe(PAGES - 1)
  await reader.close()
})

test(
  "D6: a dirty page that is lost on the device is an error to whoever reads it, an alarm, and nobody else's trouble",
  { timeout: 120_000 },
  async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
    await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
    const client = await host.connect('web')
    await writePages(client, PAGES, 1)
    await host.flush('web')
    await writePages(client, PAGES, 2)
    const [place] = findPages(host.deviceFile, [pageOf(37, 2)])
    overwrite(host.deviceFile, place! + 100, Buffer.from('changed'))
    // As if it had never been: not the older version, which the origin has, by itself or among others.
    await expect(client.read(37 * PAGE, PAGE)).rejects.toMatchObject({ errno: 5 })
    await expect(client.read(32 * PAGE, 8 * PAGE)).rejects.toMatchObject({ errno: 5 })
    expect((await client.read(36 * PAGE, PAGE)).equals(pageOf(36, 2))).toBe(true)
    await host.flush('web')
    await expect(client.read(37 * PAGE, PAGE)).rejects.toMatchObject({ errno: 5 })
    for (let page = 0; page < PAGES; page++) {
      if (page !== 37) expect((await client.read(page * PAGE, PAGE)).equals(pageOf(page, 2)), `page ${page}`).toBe(true)
    }
    expect(findPages(image, [pageOf(36, 2), pageOf(38, 2)])).toEqual([36 * PAGE, 38 * PAGE])
    expect(findPages(image, [pageOf(37, 1), pageOf(37, 2)])).toEqual([37 * PAGE])
    expect(pageIn(image, 37).equals(pageOf(37, 1))).toBe(true)
    expect(await host.disk('web')).toMatchObject({ state: 'serving', lostPages: 1 })
    expect(await host.attention()).toMatchObject([{ object: 'disk web', reason: expect.stringContaining('lost') }])

    // Known after a kill too, and whole again when somebody writes it.
    await client.close()
    await host.killEngine()
    const next = await host.connect('web')
    await expect(next.read(37 * PAGE, PAGE)).rejects.toMatchObject({ errno: 5 })
    await next.write(37 * PAGE, pageOf(37, 3))
    expect((await next.read(37 * PAGE, PAGE)).equals(pageOf(37, 3))).toBe(true)
    expect(await host.disk('web')).toMatchObject({ lostPages: 0 })
    await next.close()
  },
)

/** A page of an image, as it is there. */
function pageIn(image: string, page: number): Buffer {
  const bytes = Buffer.alloc(PAGE)
  const descriptor = openSync(image, 'r')
  readSync(descriptor, bytes, 0, PAGE, page * PAGE)
  closeSync(descriptor)
  return bytes
}
