import { renameSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { attachRequest, context, createRequest, MIB, testHost, type TestHost } from './test-host.js'

async function hostWithDisk(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  await host.operations['cache.attach'](attachRequest(host.image('web01.img')), context)
  return host
}

const status = (host: TestHost) => host.operations['status.show']({}, context)
const engine = (host: TestHost) => host.operations['engine.status']({}, context)

test('a healthy host: everything is said, nothing needs attention, it may be rebooted', async () => {
  const host = await hostWithDisk()
  const document = await status(host)
  expect(document).toMatchObject({
    counts: { caches: 1, disks: 1, vms: 0 },
    caches: [{ name: 'fast', disks: ['web01'] }],
    attention: [],
    jobs: [],
  })
  expect(document.engine).toEqual(await engine(host))
  expect(document.engine).toMatchObject({
    host: 'kvm07',
    hostId: expect.stringMatching(/^[0-9a-f]{32}$/),
    state: 'running',
    pid: 4711,
    version: '1.2.3',
    startedAt: expect.stringMatching(/Z$/),
    socket: expect.stringContaining('control.sock'),
    ioThreads: 1,
    ioBackend: 'fake',
    caches: ['fast'],
    degraded: [],
    safeToReboot: { now: true, reasons: [], secondsUntil: 0 },
  })
})

test('what an origin lacks, and jobs, are in the way of a reboot', async () => {
  const host = await hostWithDisk()
  host.engine.setDisk('web01', { dirtyBytes: MIB, dirtyAgeSeconds: 38, secondsToFlush: 9 })
  expect((await engine(host)).safeToReboot).toEqual({
    now: false,
    reasons: ['disk web01: 1 MB that the origin lacks, the oldest for 38 s'],
    secondsUntil: 9,
  })
  host.engine.setDisk('web01', { secondsToFlush: null })
  expect((await engine(host)).safeToReboot.secondsUntil).toBeNull()
  host.engine.setDisk('web01', { dirtyBytes: 0 })
  host.jobs.push({
    id: '1',
    kind: 'disk.flush',
    object: 'disk web01',
    state: 'running',
    progress: null,
    createdAt: '2026-11-20T10:00:00.000Z',
    endedAt: null,
    result: null,
    error: null,
  })
  expect((await engine(host)).safeToReboot).toEqual({
    now: false,
    reasons: ['job disk.flush of disk web01 runs'],
    secondsUntil: null,
  })
  expect((await status(host)).jobs).toHaveLength(1)
})

test('disks that are not as wanted, and events that wait for the database, need attention', async () => {
  const host = await hostWithDisk()
  host.engine.setDisk('web01', { state: 'changed', reason: 'the image was modified' })
  expect((await status(host)).attention).toEqual([
    { object: 'disk web01', state: 'changed', reason: 'the image was modified', mend: 'vmcache disk show web01' },
  ])
  host.engine.setDisk('web01', { state: 'serving', reason: null })
  host.state.fail('all')
  host.engine.emit({ what: 'device.slow', cache: 'fast', disk: null, reason: 'slow' })
  await expect
    .poll(async () => (await status(host)).attention)
    .toMatchObject([{ object: expect.stringContaining('state database'), mend: 'vmcache doctor' }])
  host.state.mend()
  await host.handle.retry()
  expect((await status(host)).attention).toEqual([])
  const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
  expect(events.at(-1)).toMatchObject({ what: 'device.slow', who: 'engine', why: 'slow', cache: 'fast' })
})

test('an engine that closes says so', async () => {
  const host = await hostWithDisk()
  await host.close()
  expect((await engine(host)).state).toBe('stopping')
})

describe('events', () => {
  const events = async (host: TestHost, query = {}) =>
    (await host.operations['event.list']({ sinceAt: null, vm: null, disk: null, ...query }, context)).events

  test('are filtered by time and disk; a bad time is refused', async () => {
    const host = await hostWithDisk()
    expect(await events(host, { disk: 'web01' })).toHaveLength(1)
    expect(await events(host, { disk: 'web02' })).toEqual([])
    expect(await events(host, { sinceAt: '2999-01-01T00:00:00+01:00' })).toEqual([])
    expect(await events(host, { sinceAt: '2020-01-01T00:00:00Z' })).toHaveLength(2)
    await expect(events(host, { sinceAt: 'yesterday' })).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  })

  test('are kept 90 days', async () => {
    const host = await hostWithDisk()
    host.ahead = 89 * 86_400_000
    await host.start(await host.close())
    expect(await events(host, { disk: 'web01' })).not.toEqual([])
    host.ahead = 91 * 86_400_000
    await host.start(await host.close())
    expect((await events(host)).filter(({ what }) => what === 'cache.attach')).toEqual([])
  })
})

describe('doctor', () => {
  const doctor = async (host: TestHost) => (await host.operations['doctor.run']({}, context)).checks
  const bad = async (host: TestHost) => (await doctor(host)).filter(({ state }) => state !== 'ok')

  test('finds nothing on a healthy host; every check says what it saw and expected', async () => {
    const host = await hostWithDisk()
    const checks = await doctor(host)
    expect(await bad(host)).toEqual([])
    expect([...new Set(checks.map(({ id }) => id))].sort()).toEqual([
      'cache',
      'device',
      'disk',
      'engine',
      'group',
      'node-version',
      'origin',
      'run-directory',
      'stamp',
      'state-database',
      'state-directory',
      'systemd-unit',
      'thread-pool',
    ])
    for (const check of checks) expect([check.seen, check.expected, check.object]).not.toContain('')
  })

  test('looks at the directory of checkpoints where one is wanted', async () => {
    const host = await hostWithDisk()
    host.checkpointDirectory = '/storage/checkpoints'
    const verdict = async (isWritable: boolean) => {
      await host.start(await host.close(), {
        isWritable: async (path) => isWritable || path !== '/storage/checkpoints',
      })
      return (await doctor(host)).find(({ id }) => id === 'checkpoint-directory')
    }
    expect(await verdict(true)).toMatchObject({ state: 'ok' })
    expect(await verdict(false)).toMatchObject({ state: 'failure', object: '/storage/checkpoints' })
  })

  test.each([
    ['node-version', { nodeVersion: 'v18.20.0' }, 'failure'],
    ['node-version', { nodeVersion: 'v20.18.3' }, 'failure'],
    ['thread-pool', { threadPoolSize: 4 }, 'warning'],
    ['state-directory', { freeBytes: async () => 500 * MIB }, 'warning'],
    ['state-directory', { freeBytes: async () => MIB }, 'failure'],
    ['state-directory', { freeBytes: () => Promise.reject(new Error('gone')) }, 'failure'],
    ['run-directory', { isWritable: async () => false }, 'failure'],
    ['group', { groupExists: async (name: string) => name !== 'kvm' }, 'warning'],
    ['systemd-unit', { installedUnit: async () => null }, 'skipped'],
  ])('%s: %j', async (id, machine, state) => {
    const host = await hostWithDisk()
    await host.start(await host.close(), machine)
    expect(await bad(host)).toMatchObject([{ id, state, mend: expect.any(String) }])
  })

  test('a newer Node.js is fine', async () => {
    const host = await hostWithDisk()
    await host.start(await host.close(), { nodeVersion: 'v24.1.0' })
    expect(await bad(host)).toEqual([])
  })

  test('names a state database that cannot be written', async () => {
    const host = await hostWithDisk()
    host.state.fail('all')
    expect(await bad(host)).toMatchObject([
      { id: 'state-database', state: 'failure', seen: expect.stringContaining('away'), mend: expect.any(String) },
    ])
  })

  test('names an origin that is away with its disk, and a stamp that is not ours', async () => {
    const host = await hostWithDisk()
    const image = host.engine.settingsOf('web01')!.origin
    const stamp = `${image}.vmcache`
    renameSync(stamp, `${stamp}.away`)
    expect(await bad(host)).toMatchObject([{ id: 'stamp', state: 'failure', seen: 'there is none' }])
    renameSync(`${stamp}.away`, stamp)
    renameSync(image, `${image}.away`)
    await host.start(await host.close())
    expect(await bad(host)).toMatchObject([
      { id: 'disk', object: 'disk web01', state: 'failure' },
      { id: 'origin', state: 'failure' },
    ])
  })

  test('names a device that is gone, with its cache and disks', async () => {
    const host = await hostWithDisk()
    host.storage.devices.get('/cache/a')!.gone = true
    await host.start(await host.close())
    expect(await bad(host)).toMatchObject([
      { id: 'cache', state: 'failure', seen: expect.stringContaining('/cache/a') },
      { id: 'device', state: 'failure', mend: expect.stringContaining('/cache/a') },
      {
        id: 'disk',
        state: 'warning',
        seen: expect.stringContaining('direct'),
        mend: expect.stringContaining('/cache/a'),
      },
    ])
  })

  test('warns of a cache in a file beside the images', async () => {
    const host = await testHost()
    const device = host.image('cache.img')
    host.storage.devices.set(device, { sizeBytes: 2 ** 30, content: 'empty', gone: false })
    await host.operations['cache.create'](createRequest({ devices: [{ path: device, sizeBytes: null }] }), context)
    expect(await bad(host)).toEqual([])
    await host.operations['cache.attach'](attachRequest(host.image('web01.img')), context)
    expect(await bad(host)).toMatchObject([
      { id: 'cache-file', state: 'warning', seen: expect.stringContaining('web01') },
    ])
  })
})
