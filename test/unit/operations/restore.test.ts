import { renameSync, rmSync, utimesSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { stampPath } from '../../../src/operations/stamp.js'
import { attachRequest, context, createRequest, detachRequest, GIB, MIB, testHost, type TestHost } from './test-host.js'

async function warmHost(origin?: string, changes = {}): Promise<TestHost & { image: TestHost['image'] }> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  const path = origin ?? host.image('web01.img')
  if (!path.startsWith('/')) host.storage.origins.set(path, GIB)
  await host.operations['cache.attach'](attachRequest(path, { name: 'web01', ...changes }), context)
  host.engine.setDisk('web01', { cachedBytes: 100 * MIB })
  return host
}

const imageOf = (host: TestHost) => host.engine.settingsOf('web01')!.origin
const show = (host: TestHost) => host.operations['disk.show']({ name: 'web01' }, context)
const isWarm = async (host: TestHost) => (await show(host)).cachedBytes > 0

test('an engine that starts serves everything again, at the same sockets and under the same epochs', async () => {
  const host = await warmHost()
  const before = await show(host)
  const end = await host.close()
  expect(host.engine.closed).toBe(true)
  expect(host.sockets).toEqual(new Set([before.socket]))
  await host.start(end)
  expect(host.report).toEqual({ caches: [{ name: 'fast', reason: null }], disks: [{ name: 'web01', reason: null }] })
  expect(await show(host)).toEqual(before)
})

describe('clean pages (promise D3)', () => {
  /** What happens to the origin while nobody holds it. */
  const meddling: [string, (host: TestHost, image: string) => void][] = [
    ['written', (host, image) => touch(image, (Date.now() + host.ahead) / 1000 + 60)],
    ['replaced', (host, image) => (renameSync(image, `${image}.old`), host.image('web01.img'))],
    ['put back from an older copy', (_, image) => touch(image, 1e9)],
    ['left without its stamp', (_, image) => rmSync(stampPath(image))],
  ]
  const touch = (image: string, seconds: number) => utimesSync(image, seconds, seconds)

  describe.each([
    ['a clean close', (host: TestHost) => host.close()],
    ['a kill', (host: TestHost) => host.kill()],
  ])('after %s', (_, end) => {
    test('are kept', async () => {
      const host = await warmHost()
      await host.start(await end(host))
      expect(await isWarm(host)).toBe(true)
    })

    test.each(meddling)('are dropped where the image was %s meanwhile', async (_what, meddle) => {
      const host = await warmHost()
      const image = imageOf(host)
      const ended = await end(host)
      meddle(host, image)
      await host.start(ended)
      expect(await isWarm(host)).toBe(false)
      expect(await show(host)).toMatchObject({ state: 'serving' })
      const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01' }, context)
      expect(events.at(-1)).toMatchObject({ what: 'disk.pages-dropped', why: expect.stringMatching(/image/) })
    })

    test('of a disk whose own writes moved the time of the image are kept', async () => {
      const host = await warmHost()
      touch(imageOf(host), Date.now() / 1000)
      await host.start(await end(host))
      expect(await isWarm(host)).toBe(true)
    })
  })

  test.each(['lost', 'power-cut'] as const)(
    'after an end that nobody saw (%s) are kept with --exclusive alone',
    async (kind) => {
      const host = await warmHost()
      await host.start({ kind, at: null, sameSupervisor: false })
      expect(await isWarm(host)).toBe(false)
      const exclusive = await warmHost(undefined, { exclusive: true })
      await exclusive.start({ kind, at: null, sameSupervisor: false })
      expect(await isWarm(exclusive)).toBe(true)
    },
  )

  test('of an NBD origin are kept while one supervisor holds it, and not after', async () => {
    const host = await warmHost('nbd://store/web01')
    await host.start(await host.kill())
    expect(await isWarm(host)).toBe(true)
    await host.start({ kind: 'clean', at: new Date().toISOString(), sameSupervisor: false })
    expect(await isWarm(host)).toBe(false)
  })

  test('of an NBD origin that had another supervisor once while it was away are dropped', async () => {
    const host = await warmHost('nbd://store/web01')
    const end = await host.close()
    host.storage.origins.delete('nbd://store/web01')
    await host.start({ ...end, sameSupervisor: false })
    expect(await show(host)).toMatchObject({ state: 'waiting' })
    host.storage.origins.set('nbd://store/web01', GIB)
    await host.start({ kind: 'killed', at: new Date().toISOString(), sameSupervisor: true })
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0 })
  })

  test('of a disk that waited through the life of an engine are judged by when it was served last', async () => {
    const host = await warmHost()
    const image = imageOf(host)
    const killed = await host.kill()
    renameSync(image, `${image}.away`)
    await host.start(killed)
    expect(await show(host)).toMatchObject({ state: 'waiting' })
    host.ahead += 3600_000
    const later = Date.now() / 1000 + 600
    renameSync(`${image}.away`, image)
    utimesSync(image, later, later)
    await host.start(await host.kill())
    expect(await isWarm(host)).toBe(false)
  })

  test('of a disk that was served without its log are dropped, and its epoch has risen first', async () => {
    const host = await warmHost()
    expect((await show(host)).lease.epoch).toBe(1)
    await host.engine.loseLog('web01')
    expect(await show(host)).toMatchObject({ state: 'direct', lease: { epoch: 2 } })
    await host.start(await host.close())
    expect(await show(host)).toMatchObject({ lease: { epoch: 2 }, cachedBytes: 0, state: 'serving' })
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01' }, context)
    expect(events.map(({ what }) => what)).toEqual(['cache.attach', 'lease.raise', 'disk.direct', 'disk.pages-dropped'])
  })

  test('a disk in write-back leaves its log only where the origin lacks nothing, and that is on record for whoever finds the log', async () => {
    const host = await warmHost(undefined, { mode: 'write-back' })
    expect(await show(host)).toMatchObject({ lacksWrites: true })
    expect(host.engine.settingsOf('web01')).toMatchObject({ originIsWhole: false })
    await host.engine.loseLog('web01')
    expect(await show(host)).toMatchObject({ state: 'direct', lacksWrites: false })
    await host.start(await host.kill())
    expect(host.engine.settingsOf('web01')).toMatchObject({ epoch: 2, originIsWhole: true })
    expect(await show(host)).toMatchObject({ state: 'serving', lacksWrites: true })
  })

  test('of such a disk are dropped too where only its stamp could be raised', async () => {
    const host = await warmHost()
    host.state.fail('all')
    await host.engine.loseLog('web01')
    expect(await show(host)).toMatchObject({ state: 'direct', lease: { epoch: 2 } })
    const killed = await host.kill()
    host.state.mend()
    await host.start(killed)
    expect(await show(host)).toMatchObject({ lease: { epoch: 2 }, cachedBytes: 0, state: 'serving' })
  })

  test('the database learns of a risen epoch when it is back', async () => {
    const host = await warmHost()
    const id = (await host.state.hosts.list())[0]!.id
    host.state.fail('all')
    await host.engine.loseLog('web01')
    host.state.mend()
    await host.handle.retry()
    expect(await host.state.load(id)).toMatchObject({ leases: [{ epoch: 2 }], tenures: [{ epoch: 2 }] })
  })

  test('a disk without a stamp stops rather than go on without its log while the database is away', async () => {
    const host = await warmHost('nbd://store/web01')
    host.state.fail('all')
    await host.engine.loseLog('web01')
    expect(await show(host)).toMatchObject({ state: 'failed', lease: { epoch: 1 } })
  })
})

describe('an origin that is away', () => {
  test('makes its disk wait, says so, and is tried again', async () => {
    const host = await warmHost()
    const image = imageOf(host)
    renameSync(image, `${image}.away`)
    await host.start(await host.close())
    expect(host.report.disks).toMatchObject([{ name: 'web01', reason: expect.stringContaining('does not exist') }])
    expect(await show(host)).toMatchObject({ state: 'waiting', sizeBytes: GIB, reason: expect.stringContaining(image) })
    const { attention } = await host.operations['status.show']({}, context)
    expect(attention).toMatchObject([{ object: 'disk web01', state: 'waiting', mend: expect.any(String) }])
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'waiting' })
    renameSync(`${image}.away`, image)
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'serving', reason: null })
    expect(await isWarm(host)).toBe(true)
    expect((await host.operations['status.show']({}, context)).attention).toEqual([])
  })

  test('does not keep other disks away', async () => {
    const host = await warmHost()
    await host.operations['cache.attach'](attachRequest(host.image('web02.img')), context)
    rmSync(imageOf(host))
    await host.start(await host.close())
    const { disks } = await host.operations['disk.list']({}, context)
    expect(disks.map(({ disk, state }) => [disk, state])).toEqual([
      ['web01', 'waiting'],
      ['web02', 'serving'],
    ])
  })

  test('is served by the same attach command when it is back', async () => {
    const host = await warmHost()
    const image = imageOf(host)
    renameSync(image, `${image}.away`)
    await host.start(await host.close())
    const attach = () => host.operations['cache.attach'](attachRequest(image, { name: 'web01' }), context)
    await expect(attach()).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND' })
    renameSync(`${image}.away`, image)
    expect(await attach()).toMatchObject({ changed: true, disk: { state: 'serving' } })
    expect(await attach()).toMatchObject({ changed: false })
  })
})

describe('D7: a cache device that is away when the engine starts', () => {
  async function startWithoutDevice(changes = {}) {
    const host = await warmHost(undefined, changes)
    host.storage.devices.get('/cache/a')!.gone = true
    await host.start(await host.close())
    return host
  }

  test('leaves its disks served from their origins, under a new epoch, and is named', async () => {
    const host = await startWithoutDevice()
    expect(host.report.caches).toMatchObject([{ name: 'fast', reason: expect.stringContaining('/cache/a') }])
    expect(await show(host)).toMatchObject({ state: 'direct', lease: { epoch: 2 }, cachedBytes: 0 })
    const { caches, attention } = await host.operations['status.show']({}, context)
    expect(caches).toMatchObject([{ state: 'failed', devices: [{ path: '/cache/a', state: 'missing' }] }])
    expect(attention).toMatchObject([
      { object: 'cache fast', state: 'failed', mend: expect.stringContaining('bring back /cache/a') },
      { object: 'disk web01', state: 'direct', reason: expect.stringContaining('cache fast is not open') },
    ])
    await expect(
      host.operations['cache.attach'](attachRequest(host.image('web02.img')), context),
    ).rejects.toMatchObject({ code: 'WRONG_STATE' })
  })

  test('gives them new logs when it is there, without a break: what their old ones hold is not believed', async () => {
    const host = await startWithoutDevice()
    host.storage.devices.get('/cache/a')!.gone = false
    const calls = host.engine.calls.length
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0, lease: { epoch: 2 } })
    const [log] = [...host.storage.logs.values()]
    expect(log!.epoch).toBe(2)
    const since = host.engine.calls.slice(calls).map(({ method }) => method)
    expect(since).toContain('resumeLog')
    expect(since).not.toContain('detach')
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01' }, context)
    expect(events.at(-1)).toMatchObject({ what: 'disk.log-resumed' })
  })

  test('gives them new logs when it is imported', async () => {
    const host = await startWithoutDevice()
    host.storage.devices.get('/cache/a')!.gone = false
    const request = { devices: ['/cache/a'], missing: false, dryRun: false }
    expect(await host.operations['cache.import'](request, context)).toMatchObject({ changed: true, coldDisks: [] })
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0 })
  })

  test('is no reason to forget what is only read', async () => {
    const host = await startWithoutDevice({ readOnly: true })
    expect(await show(host)).toMatchObject({ state: 'direct' })
  })

  test('keeps its disks from being detached without force: their chunks would stay behind', async () => {
    const host = await startWithoutDevice()
    const detach = (force: boolean) =>
      host.operations['cache.detach'](detachRequest(['web01'], { force }), context).then(({ results }) => results)
    expect(await detach(false)).toMatchObject([{ ok: false, error: { code: 'REFUSED' } }])
    expect(await detach(true)).toMatchObject([{ ok: true }])
  })

  test('that is corrupt is named as such, with the command that looks at it', async () => {
    const host = await warmHost()
    const end = await host.close()
    host.storage.devices.get('/cache/a')!.content = 'corrupt'
    await host.start(end)
    const { caches, attention } = await host.operations['status.show']({}, context)
    expect(caches).toMatchObject([{ state: 'failed', devices: [{ state: 'failed' }] }])
    expect(attention[0]).toMatchObject({ object: 'cache fast', mend: 'vmcache cache check /cache/a' })
    expect(await show(host)).toMatchObject({ state: 'direct' })
  })
})

describe('D7: a cache device that fails under the engine', () => {
  async function failedHost() {
    const host = await warmHost()
    await host.engine.failDevice('/cache/a')
    return host
  }

  test('is shown, with its disks, and what mends them', async () => {
    const host = await failedHost()
    const { caches, attention } = await host.operations['status.show']({}, context)
    expect(caches).toMatchObject([{ state: 'failed', devices: [{ state: 'failed', errors: 1 }] }])
    const mend =
      'mend or reconnect /cache/a, then: vmcache engine restart; or: vmcache device replace fast /cache/a NEW'
    expect(attention.slice(0, 2)).toMatchObject([
      {
        object: 'cache fast',
        state: 'failed',
        reason: expect.stringMatching(/\/cache\/a failed.*1 of its disks run/),
        mend,
      },
      { object: 'disk web01', state: 'direct', mend },
    ])
    const { checks } = await host.operations['doctor.run']({}, context)
    expect(checks.filter(({ state }) => state !== 'ok')).toMatchObject([
      { id: 'cache', state: 'failure', mend },
      { id: 'device', state: 'failure', mend },
      { id: 'disk', state: 'warning', mend },
    ])
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
    expect(events.map(({ what }) => what)).toEqual([
      'cache.create',
      'cache.attach',
      'device.failed',
      'lease.raise',
      'disk.direct',
    ])
  })

  test('is not tried again by this engine, and takes no new disk', async () => {
    const host = await failedHost()
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'direct' })
    const attach = host.operations['cache.attach'](attachRequest(host.image('web02.img')), context)
    await expect(attach).rejects.toMatchObject({ code: 'WRONG_STATE', hint: expect.stringContaining('engine restart') })
  })

  test('is tried by the next engine', async () => {
    const host = await failedHost()
    await host.start(await host.close())
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0, lease: { epoch: 2 } })
  })

  test('while a disk is taken up again leaves that one served directly', async () => {
    const host = await warmHost()
    const end = await host.close()
    const failing = new VmcacheError('DEVICE_FAILED', 'device /cache/a has failed: EIO')
    host.prepare = (engine) => engine.failNext('attach', failing)
    await host.start(end)
    expect(await show(host)).toMatchObject({ state: 'direct', reason: failing.message, lease: { epoch: 2 } })
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0 })
  })

  test('costs the disks on it a new log where another device is left', async () => {
    const host = await testHost()
    const devices = ['/cache/a', '/cache/b'].map((path) => ({ path, sizeBytes: GIB }))
    await host.operations['cache.create'](createRequest({ devices }), context)
    await host.operations['cache.attach'](attachRequest(host.image('web01.img'), { name: 'web01' }), context)
    await host.engine.failDevice('/cache/b')
    expect(await show(host)).toMatchObject({ state: 'direct' })
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'serving' })
    const { caches } = await host.operations['status.show']({}, context)
    expect(caches).toMatchObject([{ state: 'degraded' }])
  })
})

describe('after an end that nobody saw', () => {
  const unseen = { kind: 'power-cut', at: null, sameSupervisor: false } as const
  const end = async (wroteSecondsAfterFrame: number) => {
    const host = await warmHost()
    const image = imageOf(host)
    await host.kill()
    const frameAt = Date.now() - 60_000
    ;[...host.storage.logs.values()][0]!.newestFrameAt = frameAt
    // The host remembers the image as it was when the tenure began.
    const seconds = frameAt / 1000 + wroteSecondsAfterFrame
    const { id } = (await host.state.hosts.list())[0]!
    const [tenure] = (await host.state.load(id)).tenures
    await host.state.tenures.save({ ...tenure!, modifiedAt: String(BigInt(Math.trunc(frameAt - 1000)) * 1_000_000n) })
    utimesSync(image, seconds, seconds)
    await host.start(unseen)
    return host
  }

  test('the newest frame of the log says when our last write was, give or take 5 s', async () => {
    expect(await isWarm(await end(4))).toBe(true)
  })

  test('D3: what is later was somebody else', async () => {
    expect(await isWarm(await end(6))).toBe(false)
  })
})

describe('what mends only by hand', () => {
  test('is failed, with the reason, and not tried again by itself', async () => {
    const host = await warmHost()
    const end = await host.close()
    const other = await testHost({ name: 'kvm08', seed: 8, beside: host })
    await other.operations['cache.create'](createRequest(), context)
    const image = (await host.state.load((await host.state.hosts.list())[0]!.id)).disks[0]!.origin
    rmSync(stampPath(image))
    await other.operations['cache.attach'](attachRequest(image), context)
    await host.start(end)
    expect(await show(host)).toMatchObject({ state: 'failed', reason: expect.stringContaining('kvm08') })
    await other.operations['cache.detach'](detachRequest(['web01']), context)
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'failed' })
    await host.operations['cache.attach'](attachRequest(image, { name: 'web01' }), context)
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 0 })
  })
})

describe('a state database that goes away', () => {
  test('leaves reads working, and refuses changes whole', async () => {
    const host = await warmHost()
    const before = await show(host)
    host.state.fail('all')
    expect(await show(host)).toEqual(before)
    expect(await host.operations['cache.list']({}, context)).toMatchObject({ caches: [{ name: 'fast' }] })
    expect(await host.operations['device.list']({}, context)).toMatchObject({ devices: [{ cache: 'fast' }] })
    expect(await host.operations['status.show']({}, context)).toMatchObject({ counts: { disks: 1 } })
    expect(
      (await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)).events.length,
    ).toBeGreaterThan(1)
    const image = host.image('web02.img')
    await expect(host.operations['cache.attach'](attachRequest(image), context)).rejects.toMatchObject({
      code: 'FAILED',
    })
    expect(host.sockets.size).toBe(1)
    expect(
      (await host.operations['disk.flush']({ names: ['web01'], all: false, exclude: [], dryRun: false }, context))
        .results,
    ).toMatchObject([{ ok: true }])
    host.state.mend()
    await host.handle.retry()
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
    expect(events.at(-1)).toMatchObject({ what: 'cache.attach', result: 'FAILED' })
    expect(await host.operations['cache.attach'](attachRequest(image), context)).toMatchObject({ changed: true })
  })

  test('during a start keeps a disk waiting rather than serve it unrecorded', async () => {
    const host = await warmHost()
    const end = await host.close()
    const transaction = host.state.transaction
    host.state.transaction = () => Promise.reject(new VmcacheError('FAILED', 'the state database is away'))
    await host.start(end)
    expect(await show(host)).toMatchObject({ state: 'waiting' })
    host.state.transaction = transaction
    await host.handle.retry()
    expect(await show(host)).toMatchObject({ state: 'serving', cachedBytes: 100 * MIB })
  })

  test('at the close leaves the tenure to the word of the supervisor', async () => {
    const host = await warmHost()
    host.state.fail('all')
    await expect(host.close()).rejects.toMatchObject({ code: 'FAILED' })
    host.state.mend()
    await host.start({ kind: 'clean', at: new Date(Date.now() + 1000).toISOString(), sameSupervisor: true })
    expect(await isWarm(host)).toBe(true)
  })
})

test('an engine that dies in the middle of an attachment serves it when it is back', async () => {
  const host = await warmHost()
  const image = host.image('web02.img')
  host.engine.attach = () => new Promise(() => {})
  void host.operations['cache.attach'](attachRequest(image), context)
  await expect.poll(() => host.sockets.size).toBe(2)
  await host.start(await host.kill())
  expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([
    { disk: 'web01', state: 'serving' },
    { disk: 'web02', state: 'serving' },
  ])
})
