import { existsSync, rmSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { attachRequest, context, createRequest, detachRequest, MIB, testHost, type TestHost } from './test-host.js'

async function hostWithDisks(...names: string[]): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  for (const name of names) {
    const image = host.image(`${name.replace('/', '-')}.img`)
    await host.operations['cache.attach'](attachRequest(image, { name }), context)
  }
  return host
}

const detach = (host: TestHost, names: string[], changes = {}) =>
  host.operations['cache.detach'](detachRequest(names, changes), context)
const names = async (host: TestHost) => (await host.operations['disk.list']({}, context)).disks.map(({ disk }) => disk)

test('leaves nothing behind', async () => {
  const host = await hostWithDisks('web01')
  const image = host.image('web01.img')
  expect(await detach(host, ['web01'])).toEqual({
    changed: true,
    results: [{ name: 'web01', ok: true, changed: true, error: null }],
  })
  expect(await names(host)).toEqual([])
  expect(host.sockets.size).toBe(0)
  expect(host.storage.logs.size).toBe(0)
  expect(existsSync(`${image}.vmcache`)).toBe(false)
  const { id } = (await host.state.hosts.list())[0]!
  expect(await host.state.load(id)).toMatchObject({ disks: [], leases: [], tenures: [] })
  const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01' }, context)
  expect(events.at(-1)).toMatchObject({ what: 'cache.detach', result: 'ok', disk: 'web01' })
})

describe('targets', () => {
  test('several names, patterns, all and exclusions', async () => {
    const host = await hostWithDisks('web01/vda', 'web01/vdb', 'web02/vda', 'db')
    const dry = async (request: string[], changes = {}) =>
      (await detach(host, request, { dryRun: true, ...changes })).results.map(({ name }) => name)
    expect(await dry(['web01/*'])).toEqual(['web01/vda', 'web01/vdb'])
    expect(await dry(['web*'])).toEqual(['web01/vda', 'web01/vdb', 'web02/vda'])
    expect(await dry(['web0?/vda', 'db'])).toEqual(['db', 'web01/vda', 'web02/vda'])
    expect(await dry([], { all: true, exclude: ['web*', 'none'] })).toEqual(['db'])
    expect(await dry(['db', 'd*'])).toEqual(['db'])
  })

  test('a name that fits nothing is a failed result, and the others are done', async () => {
    const host = await hostWithDisks('web01')
    const { changed, results } = await detach(host, ['none', 'web01'])
    expect(changed).toBe(true)
    expect(results).toMatchObject([
      { name: 'web01', ok: true, changed: true },
      { name: 'none', ok: false, changed: false, error: { code: 'DISK_NOT_FOUND', exit: 3 } },
    ])
  })

  test('a pattern, and all, that fit nothing succeed and change nothing', async () => {
    const host = await hostWithDisks()
    expect(await detach(host, ['web*'])).toEqual({ changed: false, results: [] })
    expect(await detach(host, [], { all: true })).toEqual({ changed: false, results: [] })
  })

  test('no target at all is a mistake', async () => {
    const host = await hostWithDisks('web01')
    await expect(detach(host, [])).rejects.toMatchObject({ code: 'USAGE' })
  })

  test('one that fails does not stop the others', async () => {
    const host = await hostWithDisks('a', 'b', 'c')
    host.engine.failNext('detach', new VmcacheError('ORIGIN_FAILED', 'the origin hangs'))
    const { results } = await detach(host, [], { all: true })
    expect(results.map(({ ok }) => ok)).toEqual([false, true, true])
    expect(results[0]?.error).toMatchObject({ code: 'ORIGIN_FAILED', exit: 10 })
    expect(await names(host)).toEqual(['a'])
  })

  test('a job that is cancelled says what was done', async () => {
    const host = await hostWithDisks('a', 'b')
    const abort = new AbortController()
    abort.abort()
    const cancelled = { ...context, signal: abort.signal }
    await expect(host.operations['cache.detach'](detachRequest([], { all: true }), cancelled)).rejects.toMatchObject({
      code: 'INTERRUPTED',
      details: { done: [] },
    })
    expect(await names(host)).toEqual(['a', 'b'])
  })

  test('progress counts several and shows the bytes of one', async () => {
    const host = await hostWithDisks('a', 'b', 'c')
    const seen: unknown[][] = []
    const watching = { ...context, progress: (...args: unknown[]) => void seen.push(args) }
    host.engine.setDisk('a', { dirtyBytes: MIB })
    await host.operations['cache.detach'](detachRequest(['a']), watching)
    expect(seen).toEqual([[MIB, MIB, 'bytes']])
    seen.length = 0
    await host.operations['cache.detach'](detachRequest([], { all: true }), watching)
    expect(seen.map(([done, total, unit]) => [done, total, unit])).toEqual([
      [1, 2, 'items'],
      [2, 2, 'items'],
    ])
  })
})

describe('dirty data', () => {
  async function dirtyDisk() {
    const host = await hostWithDisks('web01')
    host.engine.setDisk('web01', { dirtyBytes: 3 * MIB, dirtyAgeSeconds: 90 })
    return host
  }

  test('goes to the origin first', async () => {
    const host = await dirtyDisk()
    expect((await detach(host, ['web01'])).results).toMatchObject([{ ok: true }])
    expect(host.engine.calls.at(-1)?.method).not.toBe('discardLog')
  })

  test('that the origin refuses is kept, also with --force, and what would be lost is said', async () => {
    const host = await dirtyDisk()
    host.engine.refuseWrites(host.engine.settingsOf('web01')!.origin)
    for (const force of [false, true]) {
      const { results } = await detach(host, ['web01'], { force })
      expect(results[0]?.error).toMatchObject({
        code: 'DIRTY_DATA',
        exit: 7,
        message: expect.stringContaining('3 MB'),
        hint: expect.stringContaining('--discard-dirty'),
        details: { dirtyBytes: 3 * MIB, dirtyAgeSeconds: 90 },
      })
    }
    expect(await names(host)).toEqual(['web01'])
    expect(host.storage.logs.size).toBe(1)
  })

  test('is given up with --discard-dirty', async () => {
    const host = await dirtyDisk()
    host.engine.refuseWrites(host.engine.settingsOf('web01')!.origin)
    expect((await detach(host, ['web01'], { discardDirty: true })).results).toMatchObject([{ ok: true }])
    expect(await names(host)).toEqual([])
  })

  test('keeps the image locked until it is at the origin', async () => {
    const host = await hostWithDisks('web01')
    const image = host.engine.settingsOf('web01')!.origin
    host.engine.setDisk('web01', { dirtyBytes: MIB })
    await host.start(await host.kill())
    expect(host.locks).toEqual(new Set([image]))
    await detach(host, ['web01'])
    expect(host.locks.size).toBe(0)
  })
})

describe('a detach that breaks off', () => {
  test('because the state database went away is finished by the next one', async () => {
    const host = await hostWithDisks('web01')
    host.state.fail('all')
    expect((await detach(host, ['web01'])).results).toMatchObject([{ ok: false, error: { code: 'FAILED' } }])
    host.state.mend()
    expect(await host.operations['disk.show']({ name: 'web01' }, context)).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('not finished'),
    })
    await host.handle.retry()
    expect(await host.engine.disks()).toEqual([])
    expect((await detach(host, ['web01'])).results).toMatchObject([{ ok: true }])
    expect(await names(host)).toEqual([])
  })

  test('in the engine leaves the disk served', async () => {
    const host = await hostWithDisks('web01')
    host.engine.failNext('detach', new VmcacheError('ORIGIN_FAILED', 'the origin hangs'))
    await detach(host, ['web01'])
    expect(await host.operations['disk.show']({ name: 'web01' }, context)).toMatchObject({ state: 'serving' })
  })
})

describe('a disk that is not served', () => {
  test('is forgotten and its chunks are freed', async () => {
    const host = await hostWithDisks('web01')
    const image = host.engine.settingsOf('web01')!.origin
    rmSync(image)
    await host.start(await host.kill())
    expect(await host.operations['disk.show']({ name: 'web01' }, context)).toMatchObject({ state: 'waiting' })
    expect((await detach(host, ['web01'], { force: true })).results).toMatchObject([{ ok: true }])
    expect(host.storage.logs.size).toBe(0)
    expect(await names(host)).toEqual([])
  })

  test('of a cache that is away is only forgotten by force', async () => {
    const host = await hostWithDisks('web01')
    host.storage.devices.get('/cache/a')!.gone = true
    await host.start(await host.kill())
    expect((await detach(host, ['web01'])).results).toMatchObject([
      { ok: false, error: { code: 'REFUSED', hint: expect.stringContaining('--force') } },
    ])
    expect((await detach(host, ['web01'], { force: true })).results).toMatchObject([{ ok: true }])
    expect(await names(host)).toEqual([])
  })
})

test('a dry run says the steps and touches nothing', async () => {
  const host = await hostWithDisks('web01')
  host.engine.setDisk('web01', { dirtyBytes: MIB })
  const calls = host.engine.changes().length
  const result = await detach(host, ['web01'], { dryRun: true })
  expect(result).toMatchObject({ changed: true, dryRun: true, results: [{ name: 'web01', ok: true, changed: true }] })
  expect(result.steps?.[0]).toContain('write 1 MB')
  expect(host.engine.changes()).toHaveLength(calls)
  expect(await names(host)).toEqual(['web01'])
  expect(host.sockets.size).toBe(1)
})
