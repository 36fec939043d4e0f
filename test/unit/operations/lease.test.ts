import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { originOfLease } from '../../../src/operations/lease.js'
import { stampPath } from '../../../src/operations/stamp.js'
import { attachRequest, context, createRequest, detachRequest, GIB, MIB, testHost, type TestHost } from './test-host.js'

/** Two hosts that reach one directory; `web.img` is attached at the first. */
async function twoHosts(
  changes = {},
  sharedDatabase = false,
): Promise<{ one: TestHost; other: TestHost; image: string }> {
  const one = await testHost({ name: 'kvm07', seed: 7 })
  const other = await testHost({
    name: 'kvm08',
    seed: 8,
    beside: one,
    ...(sharedDatabase ? { stateUrl: one.stateUrl } : {}),
  })
  await one.operations['cache.create'](createRequest(), context)
  const image = one.image('web.img')
  await one.operations['cache.attach'](attachRequest(image, { name: 'web', ...changes }), context)
  return { one, other, image }
}

const show = (host: TestHost, origin: string) => host.operations['lease.show']({ origin }, context)
const take = (host: TestHost, origin: string, flags = {}) =>
  host.operations['lease.take']({ origin, fenced: false, discardDirty: false, dryRun: false, ...flags }, context)

test('a lease is shown by both hosts: by the one from its database, by the other from the stamp', async () => {
  const { one, other, image } = await twoHosts()
  const lease = { origin: image, host: 'kvm07', disk: 'web', epoch: 1, lacksWrites: false }
  expect(await show(one, image)).toMatchObject({ ...lease, changedAt: expect.stringContaining('T') })
  expect(await show(other, image)).toMatchObject({ ...lease, changedAt: null })
  expect((await one.operations['lease.list']({}, context)).leases).toMatchObject([lease])
  expect((await other.operations['lease.list']({}, context)).leases).toEqual([])
  await one.operations['cache.detach'](detachRequest(['web']), context)
  expect(await show(one, image)).toMatchObject({ host: null, disk: null, epoch: 1, lacksWrites: false })
  await expect(show(other, image)).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('hosts that share a database see all leases', async () => {
  const { one, other, image } = await twoHosts({ mode: 'write-back' }, true)
  const { leases } = await other.operations['lease.list']({}, context)
  expect(leases).toMatchObject([{ origin: image, host: 'kvm07', disk: 'web', lacksWrites: true }])
  expect(leases).toEqual((await one.operations['lease.list']({}, context)).leases)
})

describe('a lease that another host holds', () => {
  test('is not taken without a word that the host is off', async () => {
    const { other, image } = await twoHosts()
    const before = readFileSync(stampPath(image), 'utf8')
    await expect(take(other, image)).rejects.toMatchObject({
      code: 'REFUSED',
      exit: 7,
      message: `origin ${image} is held by host kvm07 as disk web`,
      hint: expect.stringContaining('--fenced'),
    })
    expect(readFileSync(stampPath(image), 'utf8')).toBe(before)
    expect((await other.operations['lease.list']({}, context)).leases).toEqual([])
  })

  test('is taken under a higher epoch, and its holder does not come back to it', async () => {
    const { one, other, image } = await twoHosts()
    const end = await one.kill()
    const { changed, lease } = await take(other, image, { fenced: true })
    expect({ changed, lease }).toMatchObject({ changed: true, lease: { host: 'kvm08', epoch: 2, lacksWrites: false } })
    expect(await take(other, image, { fenced: true })).toMatchObject({ changed: false })
    await one.start(end)
    expect(await one.operations['disk.show']({ name: 'web' }, context)).toMatchObject({
      state: 'failed',
      reason: expect.stringContaining('kvm08'),
    })
    await other.operations['cache.create'](createRequest(), context)
    const { disk } = await other.operations['cache.attach'](attachRequest(image), context)
    expect(disk).toMatchObject({ state: 'serving', lease: { host: 'kvm08', epoch: 3 } })
    await other.operations['cache.detach'](detachRequest([disk!.disk]), context)
    expect(existsSync(stampPath(image))).toBe(false)
  })

  test('D5: with writes that the origin lacks is taken only by who gives them up', async () => {
    const { one, other, image } = await twoHosts({ mode: 'write-back' })
    one.engine.setDisk('web', { dirtyBytes: MIB })
    await one.kill()
    await expect(take(other, image, { discardDirty: true })).rejects.toMatchObject({ code: 'REFUSED' })
    await expect(take(other, image, { fenced: true })).rejects.toMatchObject({
      code: 'DIRTY_DATA',
      exit: 7,
      message: expect.stringContaining('lacks writes that the cache of host kvm07 holds for disk web'),
      hint: expect.stringContaining('vmcache cache recover'),
    })
    expect(await show(other, image)).toMatchObject({ host: 'kvm07', lacksWrites: true })
    const dry = await take(other, image, { fenced: true, discardDirty: true, dryRun: true })
    expect(dry).toMatchObject({
      changed: true,
      dryRun: true,
      steps: [
        `take the lease of ${image} from host kvm07 for host kvm08, epoch 2`,
        'give up what the cache of host kvm07 holds',
        `write a stamp beside ${image}`,
      ],
    })
    expect(await show(other, image)).toMatchObject({ host: 'kvm07', lacksWrites: true })
    await take(other, image, { fenced: true, discardDirty: true })
    expect(await show(other, image)).toMatchObject({ host: 'kvm08', lacksWrites: false })
    const { events } = await other.operations['event.list']({ sinceAt: null, vm: null, disk: null }, context)
    expect(events.at(-1)).toMatchObject({ what: 'lease.take', result: 'ok' })
  })

  test('that only the database knows says whether the origin lacks writes, where hosts share one', async () => {
    const { one, other } = await twoHosts({}, true)
    one.storage.origins.set('nbd://storage/db', GIB)
    await one.operations['cache.attach'](
      attachRequest('nbd://storage/db', { name: 'db', mode: 'write-back', exclusive: true }),
      context,
    )
    await expect(take(other, 'nbd://storage/db', { fenced: true })).rejects.toMatchObject({ code: 'DIRTY_DATA' })
    const { lease } = await take(other, 'nbd://storage/db', { fenced: true, discardDirty: true })
    expect(lease).toMatchObject({ host: 'kvm08', disk: null, epoch: 2 })
  })

  test('is finished by the next try where the first broke off', async () => {
    const { other, image } = await twoHosts()
    // The database has it, the stamp not yet.
    const write = other.state.leases.compareAndSet.bind(other.state.leases)
    expect(await write(null, { ...(await recordOf(other, image)), epoch: 2 })).toBe(true)
    expect(await show(other, image)).toMatchObject({ host: 'kvm07', epoch: 2 })
    expect((await take(other, image, { fenced: true })).lease).toMatchObject({ host: 'kvm08', epoch: 3 })
  })
})

async function recordOf(host: TestHost, image: string) {
  const { ino } = await import('node:fs').then(({ statSync }) => statSync(image, { bigint: true }))
  const [own] = await host.state.hosts.list()
  return { origin: `file:${image}#${ino}`, host: own!.id, disk: null, changedAt: '2026-01-01T00:00:00.000Z' }
}

test('a lease that was given back, or that nobody had, is there for whoever asks', async () => {
  const { one, other, image } = await twoHosts()
  await one.operations['cache.detach'](detachRequest(['web']), context)
  expect((await take(other, image)).lease).toMatchObject({ host: 'kvm08', epoch: 1 })
  expect((await take(one, one.image('new.img'))).lease).toMatchObject({ host: 'kvm07', epoch: 1 })
})

test('what is attached here is held already', async () => {
  const { one, image } = await twoHosts({ mode: 'write-back' })
  expect(await take(one, image, { fenced: true, discardDirty: true })).toMatchObject({ changed: false })
  expect(await show(one, image)).toMatchObject({ epoch: 1, lacksWrites: true })
})

test('writes that a lost cache of this host held are given up by name', async () => {
  const { one, image } = await twoHosts({ mode: 'write-back' })
  one.engine.setDisk('web', { dirtyBytes: MIB })
  await one.kill()
  const reborn = await testHost({ name: 'kvm07', seed: 7, stateUrl: `${one.stateUrl}.new` })
  await expect(take(reborn, image)).rejects.toMatchObject({
    code: 'DIRTY_DATA',
    message: expect.stringContaining('the cache of this host holds'),
  })
  expect((await take(reborn, image, { discardDirty: true })).lease).toMatchObject({ lacksWrites: false, epoch: 2 })
  await reborn.operations['cache.create'](createRequest(), context)
  const { disk } = await reborn.operations['cache.attach'](attachRequest(image), context)
  expect(disk).toMatchObject({ state: 'serving', lacksWrites: false })
})

test('a stamp that cannot be understood is taken by nobody', async () => {
  const { other, image } = await twoHosts()
  writeFileSync(stampPath(image), 'nonsense')
  await expect(take(other, image, { fenced: true, discardDirty: true })).rejects.toMatchObject({ code: 'CORRUPT' })
})

test.each([
  ['file:/images/a#b#123', '/images/a#b'],
  ['nbd://storage/web', 'nbd://storage/web'],
  ['0123456789abcdef0123456789abcdef:/dev/sdb', '/dev/sdb'],
  ['0123456789abcdef0123456789abcdef:nbd+unix:///?socket=/s', 'nbd+unix:///?socket=/s'],
  ['/dev/disk/by-id/wwn-0x5', '/dev/disk/by-id/wwn-0x5'],
])('the key %s is shown as %s', (key, origin) => expect(originOfLease(key)).toBe(origin))
