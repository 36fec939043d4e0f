import { expect, test } from 'vitest'
import { attachRequest, context, createRequest, MIB, testHost, type TestHost } from './test-host.js'

async function hostWithDisk(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  await host.operations['cache.attach'](attachRequest(host.image('a.img')), context)
  host.engine.setDisk('a', { cachedBytes: MIB })
  return host
}

const scrub = (host: TestHost, changes = {}, given = context) =>
  host.operations['cache.scrub']({ name: 'fast', bytesPerSecond: null, dryRun: false, ...changes }, given)

test('says what was read of every disk', async () => {
  const host = await hostWithDisk()
  expect(await scrub(host, { bytesPerSecond: 1000 })).toEqual({
    changed: false,
    cache: 'fast',
    disks: [{ disk: 'a', pages: 256, repairedPages: 0, droppedPages: 0, damagedPages: [] }],
    skipped: [],
  })
  expect(host.engine.calls.filter(({ method }) => method === 'scrub')).toMatchObject([{ args: ['fast', 1000] }])
})

test('a dry run reads nothing', async () => {
  const host = await hostWithDisk()
  expect(await scrub(host, { dryRun: true })).toMatchObject({ changed: false, steps: ['read 1 MB of disk a back'] })
  expect(host.engine.calls.map(({ method }) => method)).not.toContain('scrub')
})

test('a disk that is not served is named', async () => {
  const host = await hostWithDisk()
  const end = await host.close()
  const [log] = host.storage.logs.values()
  log!.isDamaged = true
  await host.start(end)
  expect(await scrub(host)).toMatchObject({
    disks: [],
    skipped: [{ disk: 'a', reason: expect.stringContaining('damaged') }],
  })
})

test('a cache that is not there, or not open, is not scrubbed', async () => {
  const host = await hostWithDisk()
  await expect(scrub(host, { name: 'slow' })).rejects.toMatchObject({ code: 'CACHE_NOT_FOUND' })
  host.storage.devices.get('/cache/a')!.gone = true
  await host.start(await host.close())
  await expect(scrub(host)).rejects.toMatchObject({ code: 'WRONG_STATE' })
})
