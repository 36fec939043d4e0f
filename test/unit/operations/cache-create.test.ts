import { join } from 'node:path'
import { symlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { attachRequest, context, createRequest, GIB, MIB, testHost } from './test-host.js'

test('makes a cache, opens and records it', async () => {
  const host = await testHost()
  const { changed, cache } = await host.operations['cache.create'](createRequest(), context)
  expect(changed).toBe(true)
  expect(cache).toMatchObject({ name: 'fast', host: 'kvm07', scope: 'local', state: 'open', disks: [] })
  expect(cache?.devices).toMatchObject([{ path: '/cache/a', sizeBytes: 4 * GIB, chunks: 256, state: 'ok' }])
  expect((await host.operations['cache.list']({}, context)).caches).toEqual([cache])
  expect((await host.operations['device.list']({}, context)).devices).toMatchObject([
    { path: '/cache/a', cache: 'fast' },
  ])
  const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
  expect(events).toMatchObject([{ what: 'cache.create', who: 'root (uid 0)', result: 'ok', cache: 'fast' }])
})

test('asking again changes nothing, also by another order of the devices', async () => {
  const host = await testHost()
  const devices = [
    { path: '/cache/a', sizeBytes: GIB },
    { path: '/cache/b', sizeBytes: 2 * GIB },
  ]
  await host.operations['cache.create'](createRequest({ devices }), context)
  const calls = host.engine.changes().length
  const again = await host.operations['cache.create'](createRequest({ devices: devices.toReversed() }), context)
  expect(again).toMatchObject({ changed: false, cache: { name: 'fast' } })
  expect(host.engine.changes()).toHaveLength(calls)
})

test.each([
  ['block size', { blockSizeBytes: 8192 }],
  ['chunk size', { chunkSizeBytes: 32 * MIB }],
  ['devices', { devices: [{ path: '/cache/b', sizeBytes: GIB }] }],
  ['size of /cache/a', { devices: [{ path: '/cache/a', sizeBytes: GIB }] }],
])('the same name with another %s is a conflict that names it', async (setting, changes) => {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  await expect(host.operations['cache.create'](createRequest(changes), context)).rejects.toMatchObject({
    code: 'CACHE_EXISTS',
    message: expect.stringContaining(setting),
  })
})

test.each([
  ['a bad name', { name: '../fast' }, 'BAD_NAME'],
  ['an empty name', { name: '' }, 'BAD_NAME'],
  ['a long name', { name: 'x'.repeat(65) }, 'BAD_NAME'],
  ['no device', { devices: [] }, 'USAGE'],
  ['a relative path', { devices: [{ path: 'a', sizeBytes: GIB }] }, 'USAGE'],
  ['a device twice', { devices: [createRequest().devices[0]!, createRequest().devices[0]!] }, 'USAGE'],
  ['a block size that is no power of two', { blockSizeBytes: 12288 }, 'BAD_SIZE'],
  ['a block size above 64 KiB', { blockSizeBytes: 131072 }, 'BAD_SIZE'],
  ['a small chunk size', { chunkSizeBytes: 64 * 1024 }, 'BAD_SIZE'],
  ['a large chunk size', { chunkSizeBytes: 64 * MIB }, 'BAD_SIZE'],
  ['a chunk size that is not a number', { chunkSizeBytes: NaN }, 'BAD_SIZE'],
  ['a device smaller than a chunk', { devices: [{ path: '/cache/a', sizeBytes: MIB }] }, 'BAD_SIZE'],
  ['fewer chunks than a disk needs', { devices: [{ path: '/cache/a', sizeBytes: 100 * MIB }] }, 'BAD_SIZE'],
])('refuses %s', async (_, changes, code) => {
  const host = await testHost()
  await expect(host.operations['cache.create'](createRequest(changes), context)).rejects.toMatchObject({ code })
  expect(host.engine.changes()).toEqual([])
})

test('refuses a device of another cache, and an origin, also by another path', async () => {
  const host = await testHost()
  const image = host.image('web01.img')
  await host.operations['cache.create'](createRequest(), context)
  await host.operations['cache.attach'](attachRequest(image), context)
  const create = (path: string) =>
    host.operations['cache.create'](createRequest({ name: 'second', devices: [{ path, sizeBytes: GIB }] }), context)
  await expect(create('/cache/a')).rejects.toMatchObject({
    code: 'IN_USE',
    message: expect.stringContaining('cache fast'),
  })
  const link = join(host.directory, 'link')
  symlinkSync(image, link)
  await expect(create(link)).rejects.toMatchObject({ code: 'IN_USE', message: expect.stringContaining('disk web01') })
})

test('refuses a device that holds something, unless forced', async () => {
  const host = await testHost()
  host.storage.devices.set('/cache/a', { sizeBytes: 4 * GIB, content: 'foreign', gone: false })
  await expect(host.operations['cache.create'](createRequest(), context)).rejects.toMatchObject({
    code: 'DEVICE_NOT_EMPTY',
  })
  expect(host.storage.devices.get('/cache/a')?.content).toBe('foreign')
  expect(await host.operations['cache.create'](createRequest({ force: true }), context)).toMatchObject({
    changed: true,
  })
})

test('a dry run says the steps and touches nothing', async () => {
  const host = await testHost()
  const result = await host.operations['cache.create'](createRequest({ dryRun: true }), context)
  expect(result).toMatchObject({ changed: true, dryRun: true, cache: null })
  expect(result.steps?.join('\n')).toContain('/cache/a')
  expect(host.engine.changes()).toEqual([])
  expect((await host.operations['cache.list']({}, context)).caches).toEqual([])
  expect((await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)).events).toEqual([])
})

test('where it cannot be recorded the devices are empty again', async () => {
  const host = await testHost()
  host.state.fail('all')
  await expect(host.operations['cache.create'](createRequest(), context)).rejects.toThrow('away')
  host.state.mend()
  expect(host.storage.devices.get('/cache/a')?.content).toBe('empty')
  expect(host.engine.caches()).toEqual([])
  expect((await host.operations['cache.list']({}, context)).caches).toEqual([])
  expect(await host.operations['cache.create'](createRequest(), context)).toMatchObject({ changed: true })
})
