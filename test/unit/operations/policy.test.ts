import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import type { Level } from '../../../src/model/policy.js'
import type { AttachRequest, GivenSettings } from '../../../src/protocol/control/documents.js'
import type { RequestOf } from '../../../src/protocol/control/routes.js'
import { context, createRequest, detachRequest, GIB, MIB, targets, testHost, type TestHost } from './test-host.js'

async function hostWithDisks(...names: string[]): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  for (const name of names) await attach(host, name)
  return host
}

/** Of which nothing is set but `own`. */
const attach = (host: TestHost, name: string, own: Partial<AttachRequest> = {}) =>
  host.operations['cache.attach'](
    {
      cache: 'fast',
      origin: host.image(`${name}.img`),
      name,
      readOnly: false,
      exclusive: false,
      dryRun: false,
      ...own,
    },
    context,
  )
const define = (host: TestHost, name: string) =>
  host.operations['vm.define'](
    {
      ...{ name, memoryBytes: 2 ** 28, cpus: 1, accelerator: 'tcg', kernel: null, initrd: null, append: null },
      ...{ disks: [{ path: host.image(`${name}.img`), format: 'raw' }], qemuArguments: [], dryRun: false },
    },
    context,
  )
const ofDisk = (host: TestHost, name: string, settings: Partial<RequestOf<'disk.set'>>) =>
  host.operations['disk.set']({ name, dryRun: false, ...settings }, context)
const ofVm = (host: TestHost, name: string, settings: Partial<RequestOf<'vm.set'>>) =>
  host.operations['vm.set']({ name, dryRun: false, ...settings }, context)
const ofCache = (host: TestHost, settings: Partial<RequestOf<'cache.set'>>, inner = context) =>
  host.operations['cache.set']({ name: 'fast', dryRun: false, ...settings }, inner)
const ofHost = (host: TestHost, settings: Partial<RequestOf<'host.set'>>) =>
  host.operations['host.set']({ name: 'kvm07', dryRun: false, ...settings }, context)
const show = (host: TestHost, name: string) => host.operations['disk.show']({ name }, context)
const policy = async (host: TestHost, level: Level, name: string) => {
  const { settings } = await host.operations['policy.show']({ level, name }, context)
  return Object.fromEntries(settings.map(({ setting, ...rest }) => [setting, rest]))
}
const list = async (host: TestHost) => (await host.operations['policy.list']({}, context)).policies
const shares = async (host: TestHost) =>
  Promise.all(['a', 'b'].map(async (name) => [(await show(host, name)).shares, host.engine.settingsOf(name)?.shares]))

describe('a disk', () => {
  test('has what its level says, else its VM, its cache, its host, else the default, each setting for itself', async () => {
    const host = await hostWithDisks()
    await define(host, 'web01')
    await host.operations['vm.attach'](
      { cache: 'fast', vm: 'web01', targets: [], exclusive: false, dryRun: false },
      context,
    )
    await host.operations['vm.start'](targets(['web01']), context)
    const disk = 'web01/vda'
    const now = async () => {
      const { shares: all } = await policy(host, 'disk', disk)
      expect(host.engine.settingsOf(disk)?.shares).toBe(all?.wanted)
      return [all?.wanted, all?.source, all?.inForce?.value]
    }
    expect(await now()).toEqual([100, 'default', 100])
    await ofHost(host, { shares: 1, replacement: 'lru' })
    expect(await now()).toEqual([1, 'host', 1])
    await ofCache(host, { shares: 2, minBytes: GIB })
    expect(await now()).toEqual([2, 'cache', 2])
    await ofVm(host, 'web01', { shares: 3 })
    expect(await now()).toEqual([3, 'vm', 3])
    await ofDisk(host, disk, { shares: 4 })
    expect(await now()).toEqual([4, 'disk', 4])
    expect(await policy(host, 'disk', disk)).toMatchObject({
      replacement: { wanted: 'lru', source: 'host' },
      minBytes: { wanted: GIB, source: 'cache' },
      maxBytes: { wanted: null, source: 'default', inForce: { value: null } },
    })
    await host.start(await host.close())
    expect(await now()).toEqual([4, 'disk', 4])
    for (const [set, wanted] of [
      [() => ofDisk(host, disk, { unset: ['shares'] }), 3],
      [() => ofVm(host, 'web01', { unset: ['shares'] }), 2],
      [() => ofCache(host, { unset: ['shares', 'minBytes'] }), 1],
      [() => ofHost(host, { unset: ['shares', 'replacement'] }), 100],
    ] as const) {
      expect(await set()).toMatchObject({ changed: true })
      expect(await set()).toMatchObject({ changed: false })
      expect((await now())[0]).toBe(wanted)
    }
    expect(await list(host)).toEqual([])
    expect(await host.state.policies.list((await host.state.hosts.list())[0]!.id)).toEqual([])
  })

  test('what its attachment was given is its own, and goes with it', async () => {
    const host = await hostWithDisks()
    await ofCache(host, { shares: 7, mode: 'write-around' })
    await attach(host, 'a', { shares: 5, writeBack: { order: 'relaxed' } })
    await host.start(await host.close())
    expect(await show(host, 'a')).toMatchObject({ shares: 5, mode: { wanted: 'write-around' } })
    expect(await attach(host, 'a')).toMatchObject({ changed: false })
    await expect(attach(host, 'a', { shares: 6 })).rejects.toMatchObject({
      code: 'DISK_EXISTS',
      message: expect.stringContaining('shares 5, asked for 6'),
    })
    expect((await list(host)).map(({ level, settings }) => [level, settings])).toEqual([
      ['cache', { shares: 7, mode: 'write-around' }],
      ['disk', { shares: 5, destageOrder: 'relaxed' }],
    ])
    await host.operations['cache.detach'](detachRequest(['a']), context)
    await host.start(await host.close())
    expect((await list(host)).map(({ level }) => level)).toEqual(['cache'])
    await attach(host, 'a')
    expect(await show(host, 'a')).toMatchObject({ shares: 7, writeBack: { order: 'ordered' } })
    await host.operations['cache.detach'](detachRequest(['a']), context)
    await host.operations['cache.delete']({ name: 'fast', discardDirty: false, dryRun: false }, context)
    expect(await list(host)).toEqual([])
    await host.start(await host.close())
    expect(await list(host)).toEqual([])
  })

  test('an attachment that fails leaves nothing set', async () => {
    const host = await hostWithDisks()
    host.engine.failNext('attach', new VmcacheError('NO_SPACE', 'no'))
    await expect(attach(host, 'a', { shares: 5 })).rejects.toMatchObject({ code: 'NO_SPACE' })
    expect(await list(host)).toEqual([])
    await host.start(await host.close())
    expect(await list(host)).toEqual([])
  })

  test('a value that is set where it is inherited already stays when that changes', async () => {
    const host = await hostWithDisks('a', 'b')
    expect(await ofDisk(host, 'a', { shares: 100, dryRun: true })).toMatchObject({
      changed: true,
      steps: ['set shares of disk a to 100'],
    })
    expect(await ofDisk(host, 'a', { shares: 100 })).toMatchObject({ changed: true })
    expect(await ofDisk(host, 'a', { shares: 100 })).toMatchObject({ changed: false })
    await ofHost(host, { shares: 9 })
    expect(await shares(host)).toEqual([
      [100, 100],
      [9, 9],
    ])
  })
})

describe('a change above', () => {
  test('a dry run names every disk that it is for, and touches nothing', async () => {
    const host = await hostWithDisks('a', 'b')
    await ofDisk(host, 'a', { shares: 5 })
    const { steps } = await ofCache(host, { shares: 7, mode: 'write-around', dryRun: true })
    expect(steps).toEqual([
      'set shares of cache fast to 7',
      'set mode of cache fast to write-around',
      'set mode of disk a to write-around, it is write-through',
      'set mode of disk b to write-around, it is write-through',
      'set shares of disk b to 7, it is 100',
    ])
    expect(await shares(host)).toEqual([
      [5, 5],
      [100, 100],
    ])
    expect(await ofCache(host, { unset: ['mode'], dryRun: true })).toMatchObject({ changed: false, steps: [] })
    await ofCache(host, { mode: 'write-around' })
    expect((await ofCache(host, { unset: ['mode'], dryRun: true })).steps).toContain('have cache fast inherit mode')
  })

  test.each<[string, GivenSettings, string, RegExp]>([
    ['a min that together does not fit', { minBytes: 3 * GIB }, 'NO_SPACE', /^disk c cannot have it: cache fast has/],
    ['a limit that one cannot have', { maxBytes: 2 * GIB }, 'BAD_SIZE', /^disk b cannot have it: max 2 GB is less/],
    ['a high limit beyond the max of one', { writeBack: { dirtyHighBytes: GIB + MIB } }, 'BAD_SIZE', /^disk a cannot/],
    ['a replacement that is not there', { replacement: 'magic' }, 'BAD_CONFIG', /magic/],
    ['a mode that is not there', { mode: 'write-sideways' }, 'USAGE', /write-sideways/],
  ])('%s is refused before anything changes', async (_, settings, code, message) => {
    const host = await hostWithDisks('a', 'b')
    await ofDisk(host, 'a', { maxBytes: GIB + MIB, minBytes: 0, shares: 5 })
    await ofDisk(host, 'b', { minBytes: 3 * GIB, shares: 6 })
    await attach(host, 'c')
    const calls = host.engine.changes().length
    for (const dryRun of [true, false]) {
      await expect(ofCache(host, { ...settings, dryRun })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
    }
    expect(host.engine.changes()).toHaveLength(calls)
    expect((await list(host)).map(({ level }) => level)).toEqual(['disk', 'disk'])
  })

  test('what no disk could have is refused where there are none', async () => {
    const host = await hostWithDisks()
    await expect(ofCache(host, { maxBytes: 16 * MIB })).rejects.toMatchObject({ code: 'BAD_SIZE' })
    await expect(ofHost(host, { minBytes: GIB, maxBytes: MIB })).rejects.toMatchObject({ code: 'BAD_SIZE' })
    await expect(ofHost(host, { suspendAt: 'sometimes' })).rejects.toMatchObject({ code: 'USAGE' })
    await expect(ofHost(host, { name: 'kvm08', shares: 1 })).rejects.toMatchObject({ code: 'HOST_NOT_FOUND' })
    await expect(ofCache(host, { name: 'slow', shares: 1 })).rejects.toMatchObject({ code: 'CACHE_NOT_FOUND' })
    expect(await list(host)).toEqual([])
  })

  test('where the second disk fails the first has what it had', async () => {
    const host = await hostWithDisks('a', 'b')
    const change = host.engine.change.bind(host.engine)
    host.engine.change = async (name, settings, options) => {
      if (name === 'b') throw new VmcacheError('NO_SPACE', 'no')
      return change(name, settings, options)
    }
    await expect(ofCache(host, { shares: 7 })).rejects.toMatchObject({ code: 'NO_SPACE' })
    expect(await shares(host)).toEqual([
      [100, 100],
      [100, 100],
    ])
    expect(await list(host)).toEqual([])
  })

  test('where it cannot be recorded every disk has what it had', async () => {
    const host = await hostWithDisks('a', 'b')
    host.state.fail('all')
    await expect(ofHost(host, { shares: 7 })).rejects.toMatchObject({ code: 'FAILED' })
    host.state.mend()
    expect(await shares(host)).toEqual([
      [100, 100],
      [100, 100],
    ])
  })

  test('disks leave write-back when they are drained, and not where that is cancelled', async () => {
    const host = await hostWithDisks('a', 'b')
    await ofCache(host, { mode: 'write-back' })
    expect((await show(host, 'b')).mode).toMatchObject({ wanted: 'write-back', inForce: 'write-back' })
    host.engine.setDisk('b', { dirtyBytes: MIB })
    host.engine.hangWrites(host.engine.settingsOf('b')!.origin)
    const abort = new AbortController()
    const leaving = ofCache(host, { unset: ['mode'] }, { ...context, signal: abort.signal })
    await expect
      .poll(async () => (await policy(host, 'disk', 'b'))['mode']?.inForce?.reason)
      .toContain('it drains: what is dirty')
    await expect(ofDisk(host, 'b', { shares: 1 })).rejects.toMatchObject({ code: 'JOB_CONFLICT' })
    abort.abort()
    await expect(leaving).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect((await policy(host, 'disk', 'a'))['mode']).toMatchObject({ wanted: 'write-back', source: 'cache' })
    expect(host.engine.settingsOf('a')?.mode).toBe('write-back')
  })

  test('a disk that waits has it when it comes', async () => {
    const host = await hostWithDisks('a')
    await host.close()
    await host.start({}, {}, 'for a test')
    await ofHost(host, { shares: 9 })
    await host.start(await host.close())
    expect(host.engine.settingsOf('a')?.shares).toBe(9)
  })
})

describe('a VM', () => {
  test('has what is set of it, else of its host; off is set', async () => {
    const host = await hostWithDisks()
    await ofHost(host, { idleTimeoutSeconds: 3600, rapidSuspend: 'best-effort', timeZone: 'Europe/Berlin' })
    await define(host, 'web01')
    const wanted = async () => (await host.operations['vm.show']({ name: 'web01' }, context)).policy
    expect(await wanted()).toMatchObject({ idleTimeoutSeconds: 3600, rapidSuspend: 'best-effort' })
    await ofVm(host, 'web01', { idleTimeoutSeconds: null })
    await ofHost(host, { idleTimeoutSeconds: 60 })
    expect(await wanted()).toMatchObject({ idleTimeoutSeconds: null, timeZone: 'Europe/Berlin' })
    expect(await policy(host, 'vm', 'web01')).toMatchObject({
      idleTimeoutSeconds: { wanted: null, source: 'vm' },
      rapidSuspend: { wanted: 'best-effort', source: 'host', inForce: { value: 'off' } },
      suspendAt: { wanted: null, source: 'default' },
    })
    await ofHost(host, { mode: 'write-around' })
    expect(await policy(host, 'vm', 'web01')).not.toHaveProperty('mode')
    await ofVm(host, 'web01', { mode: 'write-through' })
    expect((await policy(host, 'vm', 'web01'))['mode']).toEqual({
      wanted: 'write-through',
      source: 'vm',
      inForce: null,
    })
    expect((await policy(host, 'host', 'kvm07'))['mode']).toMatchObject({ wanted: 'write-around', source: 'host' })
    expect((await policy(host, 'cache', 'fast'))['mode']).toMatchObject({ wanted: 'write-around', source: 'host' })
    await host.start(await host.close())
    expect(await wanted()).toMatchObject({ idleTimeoutSeconds: null, timeZone: 'Europe/Berlin' })
    await ofVm(host, 'web01', { unset: ['idleTimeoutSeconds'] })
    expect(await wanted()).toMatchObject({ idleTimeoutSeconds: 60 })
  })

  test('rapid suspend of the host is reserved for those that run, for all or none', async () => {
    const host = await hostWithDisks()
    for (const name of ['web01', 'web02']) await define(host, name)
    await host.operations['vm.start'](targets(['web01', 'web02']), context)
    const reserved = () => host.engine.caches()[0]!.chunks.reserved
    const reserve = host.engine.reserve.bind(host.engine)
    let calls = 0
    host.engine.reserve = async (...given) => {
      if (++calls === 2) throw new VmcacheError('NO_SPACE', 'full')
      return reserve(...given)
    }
    await expect(ofHost(host, { rapidSuspend: 'on' })).rejects.toMatchObject({ code: 'NO_SPACE' })
    expect(reserved()).toBe(0)
    expect(await list(host)).toEqual([])
    await ofHost(host, { rapidSuspend: 'on' })
    expect(reserved()).toBe(2 * 19)
    await ofVm(host, 'web02', { rapidSuspend: 'off' })
    expect(reserved()).toBe(19)
    await host.operations['vm.stop']({ ...targets(['web01', 'web02']), force: true }, context)
    await host.operations['vm.delete'](targets(['web02']), context)
    await host.start(await host.close())
    expect((await list(host)).map(({ level }) => level)).toEqual(['host'])
  })
})
