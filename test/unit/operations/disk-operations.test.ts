import { renameSync } from 'node:fs'
import { describe, expect, test, vi } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import { attachRequest, context, createRequest, GIB, MIB, targets, testHost, type TestHost } from './test-host.js'

async function hostWithDisks(...names: string[]): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  for (const name of names) {
    await host.operations['cache.attach'](attachRequest(host.image(`${name}.img`)), context)
  }
  return host
}

const show = (host: TestHost, name = 'a') => host.operations['disk.show']({ name }, context)

async function withoutOrigin(host: TestHost): Promise<void> {
  const image = host.engine.settingsOf('a')!.origin
  renameSync(image, `${image}.away`)
  await host.start(await host.close())
}

describe('disk flush', () => {
  const flush = (host: TestHost, names: string[], changes = {}) =>
    host.operations['disk.flush'](targets(names, changes), context)

  test('writes what the origin lacks; a clean disk is flushed too and has not changed', async () => {
    const host = await hostWithDisks('a', 'b')
    host.engine.setDisk('a', { dirtyBytes: MIB })
    expect(await flush(host, ['*'])).toMatchObject({
      changed: true,
      results: [
        { name: 'a', ok: true, changed: true },
        { name: 'b', ok: true, changed: false },
      ],
    })
    expect(host.engine.calls.filter(({ method }) => method === 'flush')).toHaveLength(2)
    expect(await flush(host, ['a'])).toMatchObject({ changed: false })
  })

  test('a disk that is not served cannot be flushed, and the reason is said', async () => {
    const host = await hostWithDisks('a')
    await withoutOrigin(host)
    expect((await flush(host, ['a'])).results).toMatchObject([
      { ok: false, error: { code: 'WRONG_STATE', message: expect.stringContaining('does not exist') } },
    ])
  })

  test('a dry run touches nothing', async () => {
    const host = await hostWithDisks('a')
    host.engine.setDisk('a', { dirtyBytes: MIB })
    expect(await flush(host, ['a'], { dryRun: true })).toMatchObject({
      changed: true,
      dryRun: true,
      steps: [expect.stringContaining('origin')],
    })
    expect((await show(host)).dirtyBytes).toBe(MIB)
  })
})

describe('what waits for the origin', () => {
  const dirtyHost = async (): Promise<{ host: TestHost; image: string }> => {
    const host = await testHost()
    await host.operations['cache.create'](createRequest(), context)
    const image = host.image('a.img')
    await host.operations['cache.attach'](attachRequest(image, { mode: 'write-back' }), context)
    host.engine.setDisk('a', { dirtyBytes: MIB, dirtyAgeSeconds: 40 })
    return { host, image }
  }
  const leave = (host: TestHost, signal = context.signal) =>
    host.operations['disk.set']({ name: 'a', mode: 'write-through', dryRun: false }, { ...context, signal })

  test('the mode changes, and nothing guards the origin any more', async () => {
    const { host, image } = await dirtyHost()
    expect(host.locks).toContain(image)
    expect((await leave(host)).disk).toMatchObject({
      mode: { inForce: 'write-through' },
      dirtyBytes: 0,
      lacksWrites: false,
    })
    expect(host.locks).not.toContain(image)
  })

  test('D5: an origin that refuses it keeps the mode as it was', async () => {
    const { host, image } = await dirtyHost()
    host.engine.refuseWrites(image)
    await expect(leave(host)).rejects.toMatchObject({
      code: 'DIRTY_DATA',
      exit: 7,
      message: expect.stringMatching(/1 MB that its origin lacks, the oldest for 40 s.*refuses writes/),
    })
    expect(await show(host)).toMatchObject({ mode: { wanted: 'write-back', inForce: 'write-back' }, dirtyBytes: MIB })
    expect(host.locks).toContain(image)
    const flushed = await host.operations['disk.flush'](targets(['a']), context)
    expect(flushed.results).toMatchObject([{ ok: false, error: { code: 'DIRTY_DATA', exit: 7 } }])
  })

  test('wanted and current mode are shown meanwhile, and the change can be cancelled', async () => {
    const { host, image } = await dirtyHost()
    host.engine.hangWrites(image)
    const abort = new AbortController()
    const leaving = leave(host, abort.signal)
    await vi.waitFor(() => expect(host.engine.changes()).toContain('change'))
    expect((await show(host)).mode).toEqual({
      wanted: 'write-through',
      inForce: 'write-back',
      reason: 'it drains: what is dirty goes to the origin first',
    })
    abort.abort()
    await expect(leaving).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect((await show(host)).mode).toEqual({ wanted: 'write-back', inForce: 'write-back', reason: null })
  })

  test('an origin that takes nothing for a minute, and says why, is refused', async () => {
    const { host, image } = await dirtyHost()
    host.engine.hangWrites(image)
    host.engine.setDisk('a', { reason: 'the origin does not take what is dirty: no space' })
    const leaving = leave(host)
    const refused = expect(leaving).rejects.toMatchObject({
      code: 'DIRTY_DATA',
      message: expect.stringContaining('no space'),
    })
    await vi.waitFor(() => expect(host.engine.changes()).toContain('change'))
    host.aheadMonotonic += 61_000
    await refused
  })

  test('a hold goes to the engine', async () => {
    const { host } = await dirtyHost()
    await host.operations['disk.flush']({ ...targets(['a']), holdSeconds: 600 }, context)
    expect(host.engine.calls.find(({ method }) => method === 'flush')?.args).toEqual(['a', 600_000])
  })
})

describe('disk invalidate', () => {
  const invalidate = (host: TestHost, names: string[], changes = {}) =>
    host.operations['disk.invalidate'](targets(names, changes), context)

  test('forgets clean pages', async () => {
    const host = await hostWithDisks('a')
    host.engine.setDisk('a', { cachedBytes: MIB })
    expect(await invalidate(host, ['a'], { dryRun: true })).toMatchObject({ changed: true, dryRun: true })
    expect((await show(host)).cachedBytes).toBe(MIB)
    expect(await invalidate(host, ['a'])).toMatchObject({ changed: true })
    expect((await show(host)).cachedBytes).toBe(0)
    expect(await invalidate(host, ['a'])).toMatchObject({ changed: false })
  })
})

describe('disk set', () => {
  const set = (host: TestHost, changes: object) =>
    host.operations['disk.set']({ name: 'a', dryRun: false, ...changes }, context)

  test('changes a disk live, and for good', async () => {
    const host = await hostWithDisks('a')
    const wanted = { mode: 'pass-through', replacement: 'lru', minBytes: GIB, maxBytes: 2 * GIB, shares: 7 }
    const { changed, disk } = await set(host, wanted)
    expect(changed).toBe(true)
    const settings = { replacement: 'lru', minBytes: GIB, maxBytes: 2 * GIB, shares: 7 }
    expect(disk).toMatchObject({ ...settings, mode: { wanted: 'pass-through' } })
    expect(await set(host, wanted)).toMatchObject({ changed: false })
    expect(await set(host, { maxBytes: null })).toMatchObject({ changed: true, disk: { maxBytes: null, shares: 7 } })
    await host.start(await host.close())
    expect(await show(host)).toMatchObject({ ...settings, maxBytes: null })
  })

  test('settings of write-back are kept one by one', async () => {
    const host = await hostWithDisks('a')
    const changed = { order: 'relaxed' as const, dirtyHighBytes: GIB }
    expect(await set(host, { writeBack: changed })).toMatchObject({ changed: true })
    expect(await set(host, { writeBack: { dirtyAgeSeconds: 60 } })).toMatchObject({ changed: true })
    expect(await set(host, { writeBack: { dirtyAgeSeconds: 60 } })).toMatchObject({ changed: false })
    const wanted = { ...DEFAULT_WRITE_BACK, ...changed, dirtyAgeSeconds: 60 }
    expect(host.engine.settingsOf('a')).toMatchObject({ writeBack: wanted })
    await host.start(await host.close())
    expect(await show(host)).toMatchObject({ writeBack: wanted })
    expect(host.engine.settingsOf('a')).toMatchObject({ writeBack: wanted })
    const again = { name: 'a', writeBack: wanted } as const
    const image = host.engine.settingsOf('a')!.origin
    const attach = host.operations['cache.attach']
    expect(await attach(attachRequest(image, { ...again }), context)).toMatchObject({ changed: false })
    await expect(attach(attachRequest(image), context)).rejects.toMatchObject({
      code: 'DISK_EXISTS',
      message: expect.stringContaining('destage relaxed, asked for ordered'),
    })
  })

  test.each([
    [{ writeBack: { dirtyLowBytes: 2 * GIB, dirtyHighBytes: GIB } }, 'BAD_SIZE'],
    [{ writeBack: { dirtyLowBytes: GIB, dirtyHighBytes: GIB } }, 'BAD_SIZE'],
    [{ writeBack: { dirtyHighBytes: 4 * GIB } }, 'BAD_SIZE'],
    [{ maxBytes: GIB, writeBack: { dirtyHighBytes: GIB } }, 'BAD_SIZE'],
    [{ maxBytes: GIB, writeBack: { dirtyLowBytes: 512 * MIB } }, 'BAD_SIZE'],
    [{ writeBack: { dirtyLowBytes: 0 } }, 'BAD_SIZE'],
    [{ writeBack: { dirtyAgeSeconds: 0 } }, 'USAGE'],
    [{ mode: 'write-sideways' }, 'USAGE'],
    [{ replacement: 'magic' }, 'BAD_CONFIG'],
    [{ shares: 0 }, 'USAGE'],
    [{ maxBytes: MIB }, 'BAD_SIZE'],
    [{ minBytes: 2 * GIB, maxBytes: GIB }, 'BAD_SIZE'],
    [{ minBytes: 5 * GIB }, 'NO_SPACE'],
    [{ name: 'none', shares: 1 }, 'DISK_NOT_FOUND'],
  ])('%j is refused whole', async (changes, code) => {
    const host = await hostWithDisks('a')
    const before = await show(host)
    await expect(set(host, { shares: 5, ...changes })).rejects.toMatchObject({ code })
    expect(await show(host)).toEqual(before)
  })

  test('where it cannot be recorded the disk is as before', async () => {
    const host = await hostWithDisks('a')
    host.state.fail('all')
    await expect(set(host, { shares: 5 })).rejects.toMatchObject({ code: 'FAILED' })
    host.state.mend()
    expect(await show(host)).toMatchObject({ shares: 100 })
  })

  test('where the engine refuses nothing is recorded', async () => {
    const host = await hostWithDisks('a')
    host.engine.failNext('change', new VmcacheError('NO_SPACE', 'no'))
    await expect(set(host, { shares: 5 })).rejects.toMatchObject({ code: 'NO_SPACE' })
    await host.start(await host.close())
    expect(await show(host)).toMatchObject({ shares: 100 })
  })

  test('a disk that waits is changed for when it comes', async () => {
    const host = await hostWithDisks('a')
    await withoutOrigin(host)
    expect(await set(host, { shares: 5 })).toMatchObject({ changed: true, disk: { shares: 5, state: 'waiting' } })
    host.image('a.img')
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ shares: 5, state: 'serving' })
  })

  test('a dry run says what differs and touches nothing', async () => {
    const host = await hostWithDisks('a')
    const result = await set(host, { shares: 5, mode: 'write-through', dryRun: true })
    expect(result).toMatchObject({ changed: true, dryRun: true, steps: ['set shares of disk a to 5, it is 100'] })
    expect(await show(host)).toMatchObject({ shares: 100 })
  })
})

describe('stats', () => {
  const stats = (host: TestHost, names: string[]) => host.operations['stats.show']({ names, window: '5m' }, context)
  const disks = async (host: TestHost, names: string[]) => (await stats(host, names)).disks.map(({ disk }) => disk)

  test('of all disks, of some, of none that fit', async () => {
    const host = await hostWithDisks('a', 'b')
    expect(await disks(host, [])).toEqual(['a', 'b'])
    expect(await disks(host, ['b'])).toEqual(['b'])
    expect(await disks(host, ['x*'])).toEqual([])
    await expect(stats(host, ['x'])).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' })
  })
})

describe('names that fit nothing', () => {
  test('are not found', async () => {
    const host = await hostWithDisks()
    await expect(show(host, 'x')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND', exit: 3 })
    await expect(host.operations['cache.show']({ name: 'x' }, context)).rejects.toMatchObject({
      code: 'CACHE_NOT_FOUND',
      exit: 3,
    })
  })
})
