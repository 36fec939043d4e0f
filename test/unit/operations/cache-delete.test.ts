import { expect, test } from 'vitest'
import { attachRequest, context, createRequest, MIB, testHost, type TestHost } from './test-host.js'

async function hostWithCache(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  return host
}

const remove = (host: TestHost, changes = {}) =>
  host.operations['cache.delete']({ name: 'fast', discardDirty: false, dryRun: false, ...changes }, context)
const caches = async (host: TestHost) => (await host.operations['cache.list']({}, context)).caches

test('makes the devices free, and forgets the cache for good', async () => {
  const host = await hostWithCache()
  expect(await remove(host)).toEqual({ changed: true, name: 'fast' })
  expect(host.storage.devices.get('/cache/a')?.content).toBe('empty')
  expect(await caches(host)).toEqual([])
  await host.start(await host.close())
  expect(await caches(host)).toEqual([])
  await expect(remove(host)).rejects.toMatchObject({ code: 'CACHE_NOT_FOUND' })
})

test('a cache with disks is in use, also where they are not served', async () => {
  const host = await hostWithCache()
  await host.operations['cache.attach'](attachRequest(host.image('web01.img')), context)
  const refused = { code: 'IN_USE', message: expect.stringContaining('web01'), hint: 'vmcache cache detach web01' }
  await expect(remove(host)).rejects.toMatchObject(refused)
  host.storage.devices.get('/cache/a')!.gone = true
  await host.start(await host.close())
  await expect(remove(host)).rejects.toMatchObject(refused)
})

test('what no origin has is lost only by --discard-dirty, which is told how much', async () => {
  const host = await hostWithCache()
  const { cacheId } = (await host.engine.identify('/cache/a'))!
  const log = { logId: '1'.repeat(32), disk: 'old', origin: '/old.img', sizeBytes: MIB, epoch: 1, cacheId }
  host.storage.logs.set(log.logId, { ...log, chunks: 1, cachedBytes: 0, dirtyBytes: MIB, newestFrameAt: null })
  await expect(remove(host)).rejects.toMatchObject({
    code: 'DIRTY_DATA',
    message: expect.stringContaining('1 MB'),
    hint: expect.stringContaining('--discard-dirty'),
  })
  expect(await remove(host, { discardDirty: true })).toMatchObject({ changed: true })
})

test('a cache that is not open is forgotten; its devices stay as they are', async () => {
  const host = await hostWithCache()
  host.storage.devices.get('/cache/a')!.gone = true
  await host.start(await host.close())
  expect((await remove(host, { dryRun: true })).steps?.[0]).toContain('cannot be erased')
  expect(await remove(host)).toMatchObject({ changed: true })
  expect(host.storage.devices.get('/cache/a')?.content).toMatchObject({ cacheName: 'fast' })
})

test('is finished by the next call where the database went away in between', async () => {
  const host = await hostWithCache()
  host.state.fail('all')
  await expect(remove(host)).rejects.toMatchObject({ code: 'FAILED' })
  host.state.mend()
  expect(await remove(host)).toMatchObject({ changed: true })
  expect(await caches(host)).toEqual([])
})

test('a dry run touches nothing', async () => {
  const host = await hostWithCache()
  const calls = host.engine.changes().length
  expect(await remove(host, { dryRun: true })).toMatchObject({ changed: true, dryRun: true, name: 'fast' })
  expect(host.engine.changes()).toHaveLength(calls)
  expect(await caches(host)).toHaveLength(1)
})
