import { describe, expect, test } from 'vitest'
import type { FakeSuperblock } from '../../support/fake-engine.js'
import { attachRequest, context, createRequest, MIB, testHost, type TestHost } from './test-host.js'

const CHUNK = createRequest().chunkSizeBytes

/** Cache `fast` on /cache/a, and free devices /cache/b and /cache/c. */
async function hostWithCache(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  for (const path of ['/cache/b', '/cache/c'])
    host.storage.devices.set(path, { sizeBytes: 64 * CHUNK, content: 'empty', gone: false })
  return host
}

const add = (host: TestHost, path = '/cache/b', changes = {}) =>
  host.operations['device.add'](
    { cache: 'fast', device: { path, sizeBytes: null }, force: false, dryRun: false, ...changes },
    context,
  )
const remove = (host: TestHost, device = '/cache/b', changes = {}, given = context) =>
  host.operations['device.remove']({ cache: 'fast', device, dryRun: false, ...changes }, given)
const replace = (host: TestHost, device: string, path: string, changes = {}) =>
  host.operations['device.replace'](
    { cache: 'fast', device, by: { path, sizeBytes: null }, force: false, dryRun: false, ...changes },
    context,
  )
const paths = async (host: TestHost) =>
  (await host.operations['cache.show']({ name: 'fast' }, context)).devices.map(({ path }) => path)
const changesOf = (host: TestHost) =>
  host.engine.changes().filter((method) => method === 'addDevice' || method === 'removeDevice')

describe('device add', () => {
  test('the cache has it, and remembers it', async () => {
    const host = await hostWithCache()
    expect(await add(host)).toMatchObject({
      changed: true,
      cache: { devices: [{ path: '/cache/a' }, { path: '/cache/b' }] },
    })
    await host.start(await host.close())
    expect(await paths(host)).toEqual(['/cache/a', '/cache/b'])
  })

  test('what it has already is no change; with another size it is a conflict', async () => {
    const host = await hostWithCache()
    await add(host)
    expect(await add(host)).toMatchObject({ changed: false })
    expect(changesOf(host)).toEqual(['addDevice'])
    await expect(add(host, '/cache/b', { device: { path: '/cache/b', sizeBytes: CHUNK } })).rejects.toMatchObject({
      code: 'IN_USE',
    })
  })

  test('a dry run says what would be done, and does nothing', async () => {
    const host = await hostWithCache()
    expect(await add(host, '/cache/b', { dryRun: true })).toMatchObject({
      changed: true,
      dryRun: true,
      steps: ['write a superblock to /cache/b', expect.stringContaining('other devices')],
    })
    expect(changesOf(host)).toEqual([])
  })

  test.each([
    ['a cache that is not there', 'CACHE_NOT_FOUND', (host: TestHost) => add(host, '/cache/b', { cache: 'slow' })],
    ['a device that is not there', 'DEVICE_NOT_FOUND', (host: TestHost) => add(host, '/cache/none')],
    ['a relative path', 'USAGE', (host: TestHost) => add(host, 'b')],
  ])('%s: %s', async (_, code, attempt) => {
    const host = await hostWithCache()
    await expect(attempt(host)).rejects.toMatchObject({ code })
    expect(await paths(host)).toEqual(['/cache/a'])
  })

  test('a device of another cache, the origin of a disk, and one that holds something are refused', async () => {
    const host = await hostWithCache()
    await host.operations['cache.create'](
      { ...createRequest(), name: 'other', devices: [{ path: '/cache/c', sizeBytes: null }] },
      context,
    )
    await expect(add(host, '/cache/c')).rejects.toMatchObject({
      code: 'IN_USE',
      message: expect.stringContaining('belongs to cache other'),
    })
    const image = host.image('web.img')
    await host.operations['cache.attach'](attachRequest(image), context)
    await expect(add(host, image)).rejects.toMatchObject({ code: 'IN_USE', message: expect.stringContaining('origin') })
    host.storage.devices.get('/cache/b')!.content = 'foreign'
    await expect(add(host)).rejects.toMatchObject({ code: 'DEVICE_NOT_EMPTY' })
    expect(await add(host, '/cache/b', { force: true })).toMatchObject({ changed: true })
  })

  test('where it cannot be written down nothing has changed', async () => {
    const host = await hostWithCache()
    host.engine.failNext('addDevice')
    await expect(add(host)).rejects.toMatchObject({ code: 'FAILED' })
    expect(await paths(host)).toEqual(['/cache/a'])
  })
})

describe('device remove', () => {
  test('what is dirty goes to the origins first; then the cache forgets the device', async () => {
    const host = await hostWithCache()
    await add(host)
    await host.operations['cache.attach'](attachRequest(host.image('a.img'), { mode: 'write-back' }), context)
    host.engine.setDisk('a', { dirtyBytes: MIB })
    expect(await remove(host)).toMatchObject({
      changed: true,
      cache: { devices: [{ path: '/cache/a' }], dirtyBytes: 0 },
    })
    expect(host.storage.devices.get('/cache/b')!.content).toBe('empty')
    await host.start(await host.close())
    expect(await paths(host)).toEqual(['/cache/a'])
  })

  test('by its id as well', async () => {
    const host = await hostWithCache()
    await add(host)
    const { devices } = await host.operations['cache.show']({ name: 'fast' }, context)
    expect(await remove(host, devices[1]!.id)).toMatchObject({ cache: { devices: [{ path: '/cache/a' }] } })
  })

  test('an origin that does not take what it lacks keeps the device, and says what is dirty', async () => {
    const host = await hostWithCache()
    await add(host)
    const image = host.image('a.img')
    await host.operations['cache.attach'](attachRequest(image, { mode: 'write-back' }), context)
    host.engine.setDisk('a', { dirtyBytes: MIB })
    host.engine.refuseWrites(image)
    await expect(remove(host)).rejects.toMatchObject({
      code: 'DIRTY_DATA',
      exit: 7,
      message: expect.stringContaining('1 MB'),
      details: { dirtyBytes: MIB },
    })
    expect(await paths(host)).toEqual(['/cache/a', '/cache/b'])
  })

  test('the last one is refused (7), and one without which there is too little room (5)', async () => {
    const host = await hostWithCache()
    await expect(remove(host, '/cache/a')).rejects.toMatchObject({ code: 'REFUSED', exit: 7 })
    await add(host)
    const { chunks } = await host.operations['cache.show']({ name: 'fast' }, context)
    const minBytes = (chunks.total - 4) * CHUNK
    await host.operations['cache.attach'](attachRequest(host.image('a.img'), { minBytes }), context)
    await expect(remove(host)).rejects.toMatchObject({ code: 'NO_SPACE', exit: 5 })
    expect(changesOf(host)).toEqual(['addDevice'])
  })

  test('one that the cache has not got, a cache that is not there', async () => {
    const host = await hostWithCache()
    await expect(remove(host)).rejects.toMatchObject({
      code: 'DEVICE_NOT_FOUND',
      hint: expect.stringContaining('/cache/a'),
    })
    await expect(remove(host, '/cache/a', { cache: 'slow' })).rejects.toMatchObject({ code: 'CACHE_NOT_FOUND' })
  })

  test('a dry run says what would be done, and does nothing', async () => {
    const host = await hostWithCache()
    await add(host)
    expect(await remove(host, '/cache/b', { dryRun: true })).toMatchObject({
      dryRun: true,
      steps: [expect.stringContaining('64 chunks'), expect.stringContaining('one less'), 'erase /cache/b'],
    })
    expect(await paths(host)).toEqual(['/cache/a', '/cache/b'])
  })

  test('where the removal was not written down, the next opening finds it', async () => {
    const host = await hostWithCache()
    await add(host)
    const superblocks = ['/cache/a', '/cache/b'].map(
      (path) => host.storage.devices.get(path)!.content as FakeSuperblock,
    )
    const end = await host.kill()
    for (const superblock of superblocks) superblock.paths = ['/cache/a']
    await host.start(end)
    expect(await paths(host)).toEqual(['/cache/a'])
    await host.start(await host.close())
    const opened = host.engine.calls.filter(({ method }) => method === 'openCache')
    expect(opened.at(-1)!.args[0]).toMatchObject({ devices: ['/cache/a'] })
  })
})

describe('device replace', () => {
  test('also the only one; the other comes first', async () => {
    const host = await hostWithCache()
    expect(await replace(host, '/cache/a', '/cache/b')).toMatchObject({ cache: { devices: [{ path: '/cache/b' }] } })
    expect(changesOf(host)).toEqual(['addDevice', 'removeDevice'])
  })

  test('one that was interrupted goes on', async () => {
    const host = await hostWithCache()
    host.engine.failNext('removeDevice')
    await expect(replace(host, '/cache/a', '/cache/b')).rejects.toMatchObject({ code: 'FAILED' })
    expect(await paths(host)).toEqual(['/cache/a', '/cache/b'])
    await replace(host, '/cache/a', '/cache/b')
    expect(await paths(host)).toEqual(['/cache/b'])
  })

  test('a dry run, an unknown device, and one by itself', async () => {
    const host = await hostWithCache()
    expect((await replace(host, '/cache/a', '/cache/b', { dryRun: true })).steps).toHaveLength(5)
    await expect(replace(host, '/cache/c', '/cache/b')).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
    await expect(replace(host, '/cache/a', '/cache/a')).rejects.toMatchObject({ code: 'USAGE' })
    expect(await paths(host)).toEqual(['/cache/a'])
  })
})
