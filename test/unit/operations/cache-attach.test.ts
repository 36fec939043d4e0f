import { existsSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { attachRequest, context, createRequest, detachRequest, GIB, MIB, testHost, type TestHost } from './test-host.js'

async function hostWithCache(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  return host
}

const attach = (host: TestHost, origin: string, changes = {}) =>
  host.operations['cache.attach'](attachRequest(origin, changes), context)
const disks = async (host: TestHost) => (await host.operations['disk.list']({}, context)).disks

test('serves an image as a disk, and writes down who does', async () => {
  const host = await hostWithCache()
  const image = host.image('web01.qcow2')
  const { changed, disk } = await attach(host, image)
  const socket = join(host.directory, 'run/kvm07/disks/web01.sock')
  expect(changed).toBe(true)
  expect(disk).toMatchObject({
    disk: 'web01',
    cache: 'fast',
    vm: null,
    target: null,
    origin: image,
    socket,
    uri: `nbd+unix:///web01?socket=${socket}`,
    sizeBytes: GIB,
    mode: { wanted: 'write-through', inForce: 'write-through', reason: null },
    state: 'serving',
    lease: { host: 'kvm07', epoch: 1 },
  })
  expect(await disks(host)).toEqual([disk])
  expect(await host.operations['disk.show']({ name: 'web01' }, context)).toEqual(disk)
  expect((await host.operations['cache.show']({ name: 'fast' }, context)).disks).toEqual(['web01'])
  expect(host.sockets).toEqual(new Set([socket]))
  expect(existsSync(`${image}.vmcache`)).toBe(true)
  const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01' }, context)
  expect(events).toMatchObject([{ what: 'cache.attach', result: 'ok', cache: 'fast', disk: 'web01' }])
})

test('asking again changes nothing, also by another path to the image', async () => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  await attach(host, image)
  const calls = host.engine.changes().length
  expect(await attach(host, image)).toMatchObject({ changed: false, disk: { disk: 'web01' } })
  const link = join(host.directory, 'link.img')
  symlinkSync(image, link)
  expect(await attach(host, link, { name: 'web01' })).toMatchObject({ changed: false })
  expect(host.engine.changes()).toHaveLength(calls)
})

test.each([
  ['mode', { mode: 'pass-through' }],
  ['replacement', { replacement: 'lru' }],
  ['min', { minBytes: 256 * MIB }],
  ['max', { maxBytes: GIB }],
  ['shares', { shares: 7 }],
  ['read-only', { readOnly: true }],
  ['exclusive', { exclusive: true }],
])('the same name with another %s is a conflict that names it', async (setting, changes) => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  await attach(host, image)
  await expect(attach(host, image, changes)).rejects.toMatchObject({
    code: 'DISK_EXISTS',
    details: { setting },
    message: expect.stringContaining(setting),
  })
})

test('the same name for another origin is a conflict that says how to name it', async () => {
  const host = await hostWithCache()
  await attach(host, host.image('web01.img'))
  await expect(attach(host, host.image('web01.raw'))).rejects.toMatchObject({
    code: 'DISK_EXISTS',
    details: { setting: 'origin' },
    hint: expect.stringContaining('--name'),
  })
})

test('an origin is attached once, whatever it is called', async () => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  const link = join(host.directory, 'link.img')
  symlinkSync(image, link)
  await attach(host, image)
  for (const path of [image, link]) {
    await expect(attach(host, path, { name: 'other' })).rejects.toMatchObject({
      code: 'IN_USE',
      message: expect.stringContaining('disk web01'),
    })
  }
})

test('of two attachments of one origin at once one is refused, and of two that need the last room too', async () => {
  const host = await hostWithCache()
  const [one, two] = [host.image('one.img'), host.image('two.img')]
  const outcomes = (pair: Promise<unknown>[]) =>
    Promise.allSettled(pair).then((all) => all.map(({ status }) => status).sort())
  expect(await outcomes([attach(host, one, { name: 'a' }), attach(host, one, { name: 'b' })])).toEqual([
    'fulfilled',
    'rejected',
  ])
  const third = host.image('three.img')
  const wants = { minBytes: 2.5 * GIB }
  expect(await outcomes([attach(host, two, wants), attach(host, third, wants)])).toEqual(['fulfilled', 'rejected'])
})

test("the cache's own device is no origin", async () => {
  const host = await testHost()
  const device = host.image('device.img', 4 * GIB)
  const devices = [{ path: device, sizeBytes: null }]
  host.storage.devices.set(device, { sizeBytes: 4 * GIB, content: 'empty', gone: false })
  await host.operations['cache.create'](createRequest({ devices }), context)
  await expect(attach(host, device)).rejects.toMatchObject({
    code: 'IN_USE',
    message: expect.stringContaining('cache fast'),
  })
})

test.each([
  ['an unknown cache', { cache: 'slow' }, 'CACHE_NOT_FOUND'],
  ['a bad name', { name: 'web01//vda' }, 'BAD_NAME'],
  ['a name that climbs', { name: '../../etc/passwd' }, 'BAD_NAME'],
  ['a long name', { name: 'x'.repeat(129) }, 'BAD_NAME'],
  ['an unknown mode', { mode: 'write-sideways' }, 'USAGE'],
  ['an unknown replacement', { replacement: 'magic' }, 'BAD_CONFIG'],
  ['shares of 0', { shares: 0 }, 'USAGE'],
  ['max below min', { minBytes: GIB, maxBytes: 512 * MIB }, 'BAD_SIZE'],
  ['a negative min', { minBytes: -1 }, 'BAD_SIZE'],
  ['min above the cache', { minBytes: 5 * GIB }, 'NO_SPACE'],
])('refuses %s', async (_, changes, code) => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  const calls = host.engine.changes().length
  await expect(attach(host, image, changes)).rejects.toMatchObject({ code })
  expect(host.engine.changes()).toHaveLength(calls)
  expect(await disks(host)).toEqual([])
  expect(readdirSync(host.directory).filter((file) => file.endsWith('.vmcache'))).toEqual([])
})

test('a share below 8 chunks is refused, naming the chunk size that would do', async () => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  await expect(attach(host, image, { maxBytes: 100 * MIB })).rejects.toMatchObject({
    code: 'BAD_SIZE',
    hint: expect.stringMatching(/128 MB.*8 MB/),
  })
  await expect(attach(host, image, { maxBytes: MIB / 2 })).rejects.toMatchObject({
    code: 'BAD_SIZE',
    hint: expect.not.stringContaining('chunks of'),
  })
})

test('minima that do not fit beside those of others are refused', async () => {
  const host = await hostWithCache()
  await attach(host, host.image('one.img'), { minBytes: 3 * GIB })
  await expect(attach(host, host.image('two.img'), { minBytes: 2 * GIB })).rejects.toMatchObject({
    code: 'NO_SPACE',
    message: expect.stringContaining('1 GB left'),
  })
  expect(await attach(host, host.image('three.img'), { minBytes: GIB })).toMatchObject({ changed: true })
  await expect(attach(host, host.image('four.img'))).rejects.toMatchObject({ code: 'NO_SPACE' })
})

describe('origins', () => {
  test.each([
    ['nothing there', (host: TestHost) => join(host.directory, 'none.img'), 'ORIGIN_NOT_FOUND'],
    ['a relative path', () => 'web01.img', 'USAGE'],
    ['a directory', (host: TestHost) => host.directory, 'ORIGIN_FAILED'],
    ['an empty file', (host: TestHost) => host.image('empty.img', 0), 'ORIGIN_SIZE'],
    ['a size that is no multiple of 512', (host: TestHost) => host.image('odd.img', 513), 'ORIGIN_SIZE'],
    ['a character device', () => '/dev/null', 'ORIGIN_FAILED'],
    ['a bad URI', () => 'nbd+unix://host/x', 'BAD_URI'],
    ['an NBD server that does not answer', () => 'nbd://127.0.0.1:9/x', 'ORIGIN_FAILED'],
  ])('%s: refused', async (_, origin, code) => {
    const host = await hostWithCache()
    await expect(attach(host, origin(host), { name: 'web01' })).rejects.toMatchObject({ code })
    expect(await disks(host)).toEqual([])
    expect(host.sockets.size).toBe(0)
  })

  test('an NBD export has no stamp, and its size is what the engine saw', async () => {
    const host = await hostWithCache()
    host.storage.origins.set('nbd://store/web01', 2 * GIB)
    const { disk } = await attach(host, 'nbd://store/web01')
    expect(disk).toMatchObject({ disk: 'web01', origin: 'nbd://store/web01', sizeBytes: 2 * GIB })
  })

  test('what is only read takes no lease and no stamp', async () => {
    const host = await hostWithCache()
    const image = host.image('base.img')
    await attach(host, image, { readOnly: true })
    expect(existsSync(`${image}.vmcache`)).toBe(false)
    expect((await host.state.load('any')).leases).toEqual([])
    expect(await disks(host)).toMatchObject([{ readOnly: true }])
  })
})

describe('another host', () => {
  test('holds the image: its stamp is found and named', async () => {
    const host = await hostWithCache()
    const other = await testHost({ name: 'kvm08', seed: 8, beside: host })
    await other.operations['cache.create'](createRequest(), context)
    const image = host.image('web01.img')
    await attach(host, image)
    for (const changes of [{}, { readOnly: true }, { exclusive: true }]) {
      await expect(attach(other, image, changes)).rejects.toMatchObject({
        code: 'LEASE_HELD',
        message: expect.stringContaining('kvm07'),
        hint: expect.stringContaining('cache detach web01'),
      })
    }
    await host.operations['cache.detach'](detachRequest(['web01']), context)
    const { disk } = await attach(other, image)
    expect(disk?.lease.host).toBe('kvm08')
  })

  test('holds the export: the shared database says so, and the epoch rises with every hand-over', async () => {
    const host = await hostWithCache()
    const other = await testHost({ name: 'kvm08', seed: 8, beside: host, stateUrl: host.stateUrl })
    await other.operations['cache.create'](createRequest(), context)
    for (const { storage } of [host, other]) storage.origins.set('nbd://store/web01', GIB)
    await attach(host, 'nbd://store/web01')
    await expect(attach(other, 'nbd://store/web01')).rejects.toMatchObject({
      code: 'LEASE_HELD',
      message: expect.stringContaining('kvm07'),
    })
    await host.operations['cache.detach'](detachRequest(['web01']), context)
    expect((await attach(other, 'nbd://store/web01')).disk?.lease.epoch).toBe(2)
    await other.operations['cache.detach'](detachRequest(['web01']), context)
    expect((await attach(host, 'nbd://store/web01')).disk?.lease.epoch).toBe(3)
  })
})

test('a dry run says the steps and touches nothing', async () => {
  const host = await hostWithCache()
  const image = host.image('web01.img')
  const calls = host.engine.changes().length
  const result = await attach(host, image, { dryRun: true })
  expect(result).toMatchObject({ changed: true, dryRun: true, disk: null })
  expect(result.steps).toHaveLength(5)
  expect(host.engine.changes()).toHaveLength(calls)
  expect(host.sockets.size).toBe(0)
  expect(existsSync(`${image}.vmcache`)).toBe(false)
  expect(await disks(host)).toEqual([])
  await expect(attach(host, image, { dryRun: true, minBytes: 5 * GIB })).rejects.toMatchObject({ code: 'NO_SPACE' })
})

describe('a step that fails is taken back with all before it', () => {
  async function nothingIsLeft(host: TestHost, image: string): Promise<void> {
    expect(host.sockets.size).toBe(0)
    expect(existsSync(`${image}.vmcache`)).toBe(false)
    expect(await disks(host)).toEqual([])
    expect(await host.engine.disks()).toEqual([])
    const image1 = await host.state.load((await host.state.hosts.list())[0]!.id)
    expect(image1).toMatchObject({ disks: [], tenures: [], leases: [] })
    expect(await attach(host, image)).toMatchObject({ changed: true })
  }

  test('the engine', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.engine.failNext('attach', new VmcacheError('ORIGIN_FAILED', 'the origin hangs'))
    await expect(attach(host, image)).rejects.toMatchObject({ code: 'ORIGIN_FAILED' })
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
    expect(events.at(-1)).toMatchObject({ what: 'cache.attach', result: 'ORIGIN_FAILED', why: 'the origin hangs' })
    await nothingIsLeft(host, image)
  })

  test('the socket', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.failSockets = new VmcacheError('BAD_NAME', 'socket path is too long')
    await expect(attach(host, image)).rejects.toMatchObject({ code: 'BAD_NAME' })
    host.failSockets = null
    await nothingIsLeft(host, image)
  })

  test('the image lock', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.failLocks = new VmcacheError('IN_USE', 'a QEMU has the image open')
    // Recovery found writes that the origin lacks.
    const engineAttach = host.engine.attach.bind(host.engine)
    host.engine.attach = async (settings) => ({ ...(await engineAttach(settings)), dirtyBytes: MIB })
    await expect(attach(host, image)).rejects.toMatchObject({ code: 'IN_USE' })
    host.failLocks = null
    host.engine.attach = engineAttach
    await nothingIsLeft(host, image)
  })

  test('the stamp', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    writeFileSync(`${image}.vmcache`, 'not a stamp\n')
    await expect(attach(host, image)).rejects.toBeInstanceOf(VmcacheError)
    expect(await disks(host)).toEqual([])
    expect(host.sockets.size).toBe(0)
    truncateSync(`${image}.vmcache`, 0)
  })

  test.each([1, 2, 3])('the state database, at call %i', async (call) => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.state.fail(call)
    await expect(attach(host, image)).rejects.toMatchObject({ code: 'FAILED' })
    host.state.mend()
    await nothingIsLeft(host, image)
  })

  test('what cannot be taken back is named', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.engine.failNext('attach', new VmcacheError('ORIGIN_FAILED', 'the origin hangs'))
    host.failSocketClose = new VmcacheError('FAILED', 'the supervisor is gone')
    await expect(attach(host, image)).rejects.toMatchObject({
      code: 'ORIGIN_FAILED',
      details: { leftBehind: ['close the socket: the supervisor is gone'] },
    })
    expect(existsSync(`${image}.vmcache`)).toBe(false)
  })
})
