import { utimesSync } from 'node:fs'
import { expect, test } from 'vitest'
import { attachRequest, context, createRequest, MIB, testHost, type TestHost } from './test-host.js'

const show = (host: TestHost) => host.operations['disk.show']({ name: 'a' }, context)
const resolve = (host: TestHost, keep: 'cache' | 'origin', changes = {}) =>
  host.operations['disk.resolve']({ name: 'a', keep, discardDirty: false, dryRun: false, ...changes }, context)

/** A disk in write-back with dirty data, whose origin somebody else wrote while no engine ran. */
async function changedHost(): Promise<{ host: TestHost; image: string }> {
  const { host, image } = await dirtyHost()
  const end = await host.kill()
  host.ahead = 60_000
  const soon = (Date.now() + 30_000) / 1000
  utimesSync(image, soon, soon)
  await host.start(end)
  return { host, image }
}

async function dirtyHost(): Promise<{ host: TestHost; image: string }> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  const image = host.image('a.img')
  await host.operations['cache.attach'](attachRequest(image, { mode: 'write-back' }), context)
  host.engine.setDisk('a', { dirtyBytes: MIB })
  const [log] = host.storage.logs.values()
  log!.newestFrameAt = Date.now()
  return { host, image }
}

const whats = async (host: TestHost): Promise<string[]> =>
  (await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'a' }, context)).events.map(({ what }) => what)

test('a changed origin: the disk waits, and says what decides', async () => {
  const { host } = await changedHost()
  const { attention } = await host.operations['status.show']({}, context)
  expect(await show(host)).toMatchObject({ state: 'changed', lacksWrites: true })
  expect(attention).toMatchObject([{ mend: expect.stringContaining('vmcache disk resolve a --keep cache|origin') }])
})

test('--keep cache writes what the cache has to the guarded origin, and the disk goes on with a new log', async () => {
  const { host, image } = await changedHost()
  const before = [...host.storage.logs.values()][0]!
  expect(await resolve(host, 'cache')).toMatchObject({
    changed: true,
    writtenBytes: MIB,
    lostPages: [],
    disk: { state: 'serving', dirtyBytes: 0, cachedBytes: 0 },
  })
  expect(host.engine.calls.find(({ method }) => method === 'destageLog')?.args[2]).toMatchObject({
    origin: image,
    disk: 'a',
  })
  expect([...host.storage.logs.values()][0]).not.toBe(before)
  expect(await whats(host)).toContain('disk.resolve')
  expect(await resolve(host, 'cache')).toMatchObject({ changed: false, disk: { state: 'serving' } })
})

test('D5: --keep origin is refused, says how much and how old, and loses it only with --discard-dirty', async () => {
  const { host } = await changedHost()
  await expect(resolve(host, 'origin')).rejects.toMatchObject({
    code: 'DIRTY_DATA',
    exit: 7,
    message: expect.stringMatching(/loses 1 MB that only its cache has, the newest written \d+ s ago/),
  })
  expect(host.storage.logs.size).toBe(1)
  const dry = await resolve(host, 'origin', { discardDirty: true, dryRun: true })
  expect(dry).toMatchObject({
    dryRun: true,
    steps: [expect.stringMatching(/^lose 1 MB/), expect.anything(), expect.anything()],
  })
  expect([...host.storage.logs.values()][0]!.dirtyBytes).toBe(MIB)
  expect(await resolve(host, 'origin', { discardDirty: true })).toMatchObject({
    changed: true,
    writtenBytes: 0,
    disk: { state: 'serving', dirtyBytes: 0 },
  })
  expect(host.engine.changes()).not.toContain('destageLog')
})

test('a damaged log: the same decides', async () => {
  const { host } = await dirtyHost()
  ;[...host.storage.logs.values()][0]!.isDamaged = true
  await host.start(await host.kill())
  expect(await show(host)).toMatchObject({ state: 'failed', lacksWrites: true })
  await expect(resolve(host, 'origin')).rejects.toMatchObject({
    message: expect.stringContaining('not all of it readable'),
  })
  expect(await resolve(host, 'cache')).toMatchObject({ writtenBytes: MIB, disk: { state: 'serving' } })
})

test('a disk that failed while it was served lets its log go first', async () => {
  const { host } = await dirtyHost()
  host.engine.setDisk('a', { state: 'failed', reason: 'the cache device failed: EIO' })
  await expect(resolve(host, 'origin')).rejects.toMatchObject({
    code: 'DIRTY_DATA',
    message: expect.stringContaining('EIO'),
  })
  expect(await resolve(host, 'cache')).toMatchObject({ changed: true, disk: { state: 'serving' } })
  const detach = host.engine.calls.find(({ method }) => method === 'detach')
  expect(detach?.args[1]).toMatchObject({ keepLog: true })
})

test('where the origin refuses, the log stays and the origin stays guarded', async () => {
  const { host, image } = await changedHost()
  host.engine.refuseWrites(image)
  await expect(resolve(host, 'cache')).rejects.toMatchObject({ code: 'ORIGIN_FAILED' })
  expect([...host.storage.logs.values()][0]!.dirtyBytes).toBe(MIB)
  expect(await show(host)).toMatchObject({ state: 'changed', lacksWrites: true })
  expect(host.locks).toContain(image)
})
