import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { stampPath } from '../../../src/operations/stamp.js'
import { attachRequest, context, createRequest, GIB, MIB, testHost, type TestHost } from './test-host.js'

const DEVICES = [
  { path: '/cache/a', sizeBytes: GIB },
  { path: '/cache/b', sizeBytes: GIB },
]
const PATHS = DEVICES.map(({ path }) => path)

/** A host with a warm disk. */
async function hostWithCache(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest({ devices: DEVICES }), context)
  await host.operations['cache.attach'](attachRequest(host.image('web01.img'), { name: 'web01/vda' }), context)
  host.engine.setDisk('web01/vda', { cachedBytes: 100 * MIB })
  return host
}

/** The host with the same devices and images and an empty database. */
async function lose(host: TestHost): Promise<TestHost> {
  await host.close()
  return testHost({
    beside: host,
    stateUrl: `sqlite:${join(host.directory, 'new.db')}`,
    storage: host.storage,
  })
}

const importCache = (host: TestHost, devices = PATHS, changes = {}) =>
  host.operations['cache.import']({ devices, missing: false, dryRun: false, ...changes }, context)

test('a cache whose database is lost comes back from its devices, with its disks', async () => {
  const host = await lose(await hostWithCache())
  expect(await importCache(host)).toMatchObject({
    changed: true,
    cache: { name: 'fast', state: 'open', disks: ['web01/vda'] },
  })
  const { disks } = await host.operations['disk.list']({}, context)
  // Nothing is remembered of the origin: what was cached is not trusted.
  expect(disks).toMatchObject([
    { disk: 'web01/vda', state: 'serving', cachedBytes: 0, mode: { wanted: 'write-through' } },
  ])
  await host.start(await host.close())
  expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([{ state: 'serving' }])
  expect(await importCache(host)).toMatchObject({ changed: false })
})

test('the epoch goes on from the stamp', async () => {
  const host = await lose(await hostWithCache())
  await importCache(host)
  expect((await host.operations['disk.show']({ name: 'web01/vda' }, context)).lease.epoch).toBe(2)
})

test('a disk whose origin is away waits for it', async () => {
  const before = await hostWithCache()
  const image = before.engine.settingsOf('web01/vda')!.origin
  const host = await lose(before)
  rmSync(image)
  rmSync(stampPath(image))
  expect(await importCache(host)).toMatchObject({ changed: true, cache: { disks: ['web01/vda'] } })
  expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([{ state: 'waiting' }])
  host.image('web01.img')
  await host.handle.retry()
  expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([{ state: 'serving' }])
})

describe('a missing device', () => {
  test('is named, and nothing is recorded', async () => {
    const host = await lose(await hostWithCache())
    await expect(importCache(host, ['/cache/a'])).rejects.toMatchObject({ code: 'DEVICE_MISSING' })
    expect((await host.operations['cache.list']({}, context)).caches).toEqual([])
  })

  test('is gone without by command', async () => {
    const host = await lose(await hostWithCache())
    host.storage.devices.get('/cache/b')!.gone = true
    expect(await importCache(host, ['/cache/a'], { missing: true })).toMatchObject({
      changed: true,
      cache: { state: 'degraded' },
      coldDisks: ['web01/vda'],
    })
    expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([
      { state: 'serving', cachedBytes: 0 },
    ])
    expect((await host.operations['status.show']({}, context)).attention[0]).toMatchObject({
      object: 'cache fast',
      state: 'degraded',
    })
  })

  test('is gone without by command for a recorded cache too', async () => {
    const host = await hostWithCache()
    host.storage.devices.get('/cache/b')!.gone = true
    await host.start(await host.close())
    const [trouble] = (await host.operations['status.show']({}, context)).attention
    expect(trouble?.mend).toContain('vmcache cache import --allow-missing --device /cache/a')
    expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([{ state: 'direct' }])
    expect(await importCache(host, ['/cache/a'], { missing: true })).toMatchObject({ changed: true })
    expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([{ state: 'serving' }])
  })

  test('may hold a part of the log of a disk that was not served meanwhile: it begins anew, under a new epoch', async () => {
    const host = await hostWithCache()
    const show = async () => (await host.operations['disk.list']({}, context)).disks[0]!
    const { origin } = await show()
    host.engine.setDisk('web01/vda', { cachedBytes: MIB })
    host.storage.devices.get('/cache/b')!.gone = true
    renameSync(origin, `${origin}.away`)
    await host.start(await host.close())
    expect(await show()).toMatchObject({ state: 'waiting', lease: { epoch: 1 } })
    await importCache(host, ['/cache/a'], { missing: true })
    renameSync(`${origin}.away`, origin)
    await host.handle.retry()
    expect(await show()).toMatchObject({ state: 'serving', cachedBytes: 0, lease: { epoch: 2 } })
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01/vda' }, context)
    expect(events.at(-1)).toMatchObject({ what: 'disk.pages-dropped', why: 'a device of cache fast is missing' })
  })
})

test.each([
  ['no device', [], 'USAGE'],
  ['a device that is not there', ['/cache/none'], 'DEVICE_NOT_FOUND'],
  ['something else', ['/cache/foreign'], 'DEVICE_FOREIGN'],
  ['devices of two caches', ['/cache/a', '/cache/other'], 'DEVICE_FOREIGN'],
])('%s is refused', async (_, devices, code) => {
  const host = await lose(await hostWithCache())
  host.storage.devices.set('/cache/foreign', { sizeBytes: GIB, content: 'foreign', gone: false })
  const other = createRequest({ name: 'other', devices: [{ path: '/cache/other', sizeBytes: GIB }] })
  await host.operations['cache.create'](other, context)
  await expect(importCache(host, devices)).rejects.toMatchObject({ code })
})

test('another cache of the same name, and disks of the same name or origin, are in the way', async () => {
  const before = await hostWithCache()
  const image = before.engine.settingsOf('web01/vda')!.origin
  const host = await lose(before)
  await host.operations['cache.create'](createRequest({ devices: [{ path: '/cache/new', sizeBytes: GIB }] }), context)
  await expect(importCache(host)).rejects.toMatchObject({ code: 'CACHE_EXISTS' })
  await host.operations['cache.delete']({ name: 'fast', discardDirty: false, dryRun: false }, context)

  const second = createRequest({ name: 'second', devices: [{ path: '/cache/second', sizeBytes: GIB }] })
  await host.operations['cache.create'](second, context)
  await host.operations['cache.attach'](attachRequest(image, { cache: 'second' }), context)
  await expect(importCache(host)).rejects.toMatchObject({
    code: 'IN_USE',
    message: expect.stringContaining('disk web01'),
  })
  expect(host.engine.caches().map(({ name }) => name)).toEqual(['second'])
})

test('where it cannot be recorded the cache is closed again', async () => {
  const host = await lose(await hostWithCache())
  host.state.fail('all')
  await expect(importCache(host)).rejects.toMatchObject({ code: 'FAILED' })
  host.state.mend()
  expect(host.engine.caches()).toEqual([])
  expect((await host.operations['cache.list']({}, context)).caches).toEqual([])
  expect(await importCache(host)).toMatchObject({ changed: true })
})

test('a dry run says the steps and touches nothing', async () => {
  const host = await lose(await hostWithCache())
  const result = await importCache(host, PATHS, { dryRun: true })
  expect(result).toMatchObject({ changed: true, dryRun: true, cache: null, steps: expect.any(Array) })
  expect(host.engine.changes()).toEqual([])
})
