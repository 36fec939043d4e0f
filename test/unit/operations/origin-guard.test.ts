import { readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { stampPath } from '../../../src/operations/stamp.js'
import {
  attachRequest,
  context,
  createRequest,
  detachRequest,
  GIB,
  MIB,
  targets,
  testHost,
  type TestHost,
} from './test-host.js'

const IN_USE = new VmcacheError('IN_USE', 'image is in use by another program')

async function hostWithCache(): Promise<TestHost> {
  const host = await testHost()
  await host.operations['cache.create'](createRequest(), context)
  return host
}

async function writeBack(host: TestHost, origin = host.image('web01.img'), changes = {}) {
  const { disk } = await host.operations['cache.attach'](
    attachRequest(origin, { name: 'web01', mode: 'write-back', ...changes }),
    context,
  )
  return disk!
}

const show = (host: TestHost) => host.operations['disk.show']({ name: 'web01' }, context)
const setMode = (host: TestHost, mode: string) =>
  host.operations['disk.set']({ name: 'web01', mode, dryRun: false }, context)
const stampOf = (image: string) => /^lacks-writes: (.*)$/m.exec(readFileSync(stampPath(image), 'utf8'))?.[1]
const modeOf = (host: TestHost) => host.engine.settingsOf('web01')?.mode

/** What guards the image of disk web01. */
const guards = async (host: TestHost, image: string) => ({
  stamp: stampOf(image),
  lock: host.locks.has(image),
  known: (await show(host)).lacksWrites,
})
const GUARDED = { stamp: 'yes', lock: true, known: true }
const FREE = { stamp: 'no', lock: false, known: false }

describe('write-back', () => {
  test('everything that guards an origin is there before the engine may take the first write', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    const attach = host.engine.attach.bind(host.engine)
    let seen: unknown = null
    host.engine.attach = async (settings) => {
      seen = {
        stamp: stampOf(image),
        lock: host.locks.has(image),
        known: (await host.state.tenures.list(settings.name)).length,
      }
      return attach(settings)
    }
    await writeBack(host, image)
    expect(seen).toMatchObject({ stamp: 'yes', lock: true })
    expect(await guards(host, image)).toEqual(GUARDED)
    expect(await show(host)).toMatchObject({ mode: { wanted: 'write-back', inForce: 'write-back', reason: null } })
  })

  test('disks in other modes guard nothing', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image, { mode: 'write-through' })
    expect(await guards(host, image)).toEqual(FREE)
  })

  describe('an image that somebody else has open', () => {
    test('is written through, with the reason, until it is free', async () => {
      const host = await hostWithCache()
      host.failLocks = IN_USE
      const image = host.image('web01.img')
      const disk = await writeBack(host, image)
      expect(disk.mode).toEqual({ wanted: 'write-back', inForce: 'write-through', reason: IN_USE.message })
      expect(await guards(host, image)).toEqual(FREE)
      const { attention } = await host.operations['status.show']({}, context)
      expect(attention).toMatchObject([{ object: 'disk web01', state: 'write-through' }])
      const { checks } = await host.operations['doctor.run']({}, context)
      expect(checks.find(({ id }) => id === 'disk')).toMatchObject({
        state: 'warning',
        seen: `serving: write-through, not write-back: ${IN_USE.message}`,
      })
      await host.handle.retry()
      expect(modeOf(host)).toBe('write-through')
      host.failLocks = null
      await host.handle.retry()
      expect(await guards(host, image)).toEqual(GUARDED)
      expect(await show(host)).toMatchObject({ mode: { wanted: 'write-back', inForce: 'write-back', reason: null } })
    })

    test('refuses no change of mode: it is wanted', async () => {
      const host = await hostWithCache()
      await writeBack(host, undefined, { mode: 'write-through' })
      host.failLocks = IN_USE
      const { disk } = await setMode(host, 'write-back')
      expect(disk.mode).toEqual({ wanted: 'write-back', inForce: 'write-through', reason: IN_USE.message })
      const { disk: again } = await setMode(host, 'write-around')
      expect(again.mode).toEqual({ wanted: 'write-around', inForce: 'write-around', reason: null })
    })
  })

  test('a disk of which write-back is wanted no more is guarded until its origin has everything', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    host.engine.setDisk('web01', { dirtyBytes: MIB, state: 'draining' })
    await setMode(host, 'write-through')
    expect(await guards(host, image)).toEqual(GUARDED)
    host.engine.setDisk('web01', {
      dirtyBytes: MIB,
      state: 'serving',
      mode: { wanted: 'write-through', inForce: 'write-through', reason: null },
    })
    await host.handle.retry()
    expect(await guards(host, image)).toEqual(GUARDED)
    host.engine.setDisk('web01', { dirtyBytes: 0, state: 'draining' })
    await host.handle.retry()
    // It is not known to be settled while it drains.
    expect(await guards(host, image)).toEqual(GUARDED)
    host.engine.setDisk('web01', { state: 'serving' })
    await host.handle.retry()
    expect(await guards(host, image)).toEqual(FREE)
  })

  test('a clean disk is free as soon as its mode changes', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    await setMode(host, 'write-through')
    expect(await guards(host, image)).toEqual(FREE)
    await setMode(host, 'write-back')
    expect(await guards(host, image)).toEqual(GUARDED)
  })

  test('a detach leaves nothing', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    await host.operations['cache.detach'](detachRequest(['web01']), context)
    expect(host.locks).toEqual(new Set())
    expect(() => stampOf(image)).toThrow('ENOENT')
  })

  test('an attach that fails leaves nothing', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    host.engine.failNext('attach')
    await expect(writeBack(host, image)).rejects.toMatchObject({ code: 'FAILED' })
    expect(host.locks).toEqual(new Set())
    expect(() => stampOf(image)).toThrow('ENOENT')
  })

  test('an origin that carries no stamp needs --exclusive where hosts share no database', async () => {
    const host = await hostWithCache()
    host.storage.origins.set('nbd://storage/web', GIB)
    const disk = await writeBack(host, 'nbd://storage/web')
    expect(disk.mode).toEqual({
      wanted: 'write-back',
      inForce: 'write-through',
      reason: 'origin nbd://storage/web carries no stamp: other hosts would not see that it lacks writes',
    })
    const other = await hostWithCache()
    other.storage.origins.set('nbd://storage/web', GIB)
    const exclusive = await writeBack(other, 'nbd://storage/web', { exclusive: true })
    expect(exclusive).toMatchObject({ mode: { inForce: 'write-back', reason: null }, lacksWrites: true })
    expect(other.locks).toEqual(new Set())
  })

  describe('after the engine has died', () => {
    async function dirty(): Promise<{ host: TestHost; image: string }> {
      const host = await hostWithCache()
      const image = host.image('web01.img')
      await writeBack(host, image)
      host.engine.setDisk('web01', { dirtyBytes: MIB, cachedBytes: MIB })
      return { host, image }
    }

    test('the origin is guarded again before its log is opened', async () => {
      const { host, image } = await dirty()
      const end = await host.kill()
      host.locks.clear()
      let wasLocked = false
      host.prepare = (engine) => {
        const attach = engine.attach.bind(engine)
        engine.attach = (settings) => ((wasLocked = host.locks.has(image)), attach(settings))
      }
      await host.start(end)
      expect(wasLocked).toBe(true)
      expect(await guards(host, image)).toEqual(GUARDED)
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: MIB })
    })

    test('somebody who opened the image meanwhile keeps the disk from being written there', async () => {
      const { host, image } = await dirty()
      host.failLocks = IN_USE
      await host.start(await host.kill())
      expect(await show(host)).toMatchObject({ state: 'waiting', reason: IN_USE.message, lacksWrites: true })
      expect(stampOf(image)).toBe('yes')
      host.failLocks = null
      await host.handle.retry()
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: MIB })
    })

    test('a changed origin stops the disk: nothing is dropped, nothing is written', async () => {
      const { host, image } = await dirty()
      const end = await host.kill()
      const later = Date.now() / 1000 + 60
      utimesSync(image, later, later)
      await host.start(end)
      expect(await show(host)).toMatchObject({ state: 'changed', lacksWrites: true })
      expect(host.engine.settingsOf('web01')).toBeUndefined()
      expect([...host.storage.logs.values()]).toMatchObject([{ dirtyBytes: MIB }])
      const { engine } = await host.operations['status.show']({}, context)
      expect(engine.safeToReboot).toEqual({
        now: false,
        reasons: ['disk web01: its origin lacks writes, and it is changed'],
        secondsUntil: null,
      })
    })

    test('a clean disk without its cache is served directly, a dirty one waits for it', async () => {
      const { host, image } = await dirty()
      await host.operations['cache.attach'](attachRequest(host.image('clean.img'), { name: 'clean' }), context)
      const end = await host.kill()
      host.storage.devices.get('/cache/a')!.gone = true
      await host.start(end)
      const { disks } = await host.operations['disk.list']({}, context)
      expect(disks).toMatchObject([
        { disk: 'clean', state: 'direct' },
        {
          disk: 'web01',
          state: 'waiting',
          reason: expect.stringContaining('waits for what its origin lacks'),
          lacksWrites: true,
        },
      ])
      expect(stampOf(image)).toBe('yes')
      const { attention } = await host.operations['status.show']({}, context)
      expect(attention).toContainEqual(expect.objectContaining({ object: 'disk web01', state: 'waiting' }))
      const { checks } = await host.operations['doctor.run']({}, context)
      expect(checks.find(({ object }) => object === 'disk web01')).toMatchObject({
        state: 'failure',
        seen: expect.stringContaining('its origin lacks writes'),
      })
      host.storage.devices.get('/cache/a')!.gone = false
      await host.handle.retry()
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: MIB })
    })

    test('a stamp that says so is enough, whatever the database remembers', async () => {
      const { host, image } = await dirty()
      await setMode(host, 'write-through')
      host.engine.setDisk('web01', { dirtyBytes: 0 })
      await host.handle.retry()
      writeFileSync(stampPath(image), readFileSync(stampPath(image), 'utf8').replace('writes: no', 'writes: yes'))
      await host.start(await host.kill(), {}, 'no engine could')
      expect(await show(host)).toMatchObject({ state: 'waiting', lacksWrites: true })
      const { results } = await host.operations['cache.detach'](detachRequest(['web01'], { force: true }), context)
      expect(results).toMatchObject([{ ok: false, error: { code: 'DIRTY_DATA' } }])
    })

    test('an engine without caches does the same, and says why', async () => {
      const { host } = await dirty()
      await host.operations['cache.attach'](attachRequest(host.image('clean.img'), { name: 'clean' }), context)
      const before = (await host.operations['disk.show']({ name: 'clean' }, context)).lease.epoch
      await host.start(await host.kill(), {}, '5 engines in a row ended')
      const { disks } = await host.operations['disk.list']({}, context)
      expect(disks).toMatchObject([
        // What it writes now its log never sees.
        { disk: 'clean', state: 'direct', lease: { epoch: before + 1 } },
        { disk: 'web01', state: 'waiting', lacksWrites: true },
      ])
      expect(host.engine.changes()).not.toContain('openCache')
      const { attention } = await host.operations['status.show']({}, context)
      expect(attention[0]).toMatchObject({
        object: 'engine of kvm07',
        reason: 'without caches: 5 engines in a row ended',
        mend: expect.stringContaining('vmcache engine restart'),
      })
      const { checks } = await host.operations['doctor.run']({}, context)
      expect(checks.find(({ id }) => id === 'engine')).toMatchObject({ state: 'failure' })
      // An engine that works again finds everything: the dirty data, and that the pages of the other are not to be believed.
      await host.start(await host.kill())
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: MIB })
    })

    test.each([[{}], [{ force: true }]])('D5: a disk that waits is not detached with its data (%j)', async (flags) => {
      const { host } = await dirty()
      const end = await host.kill()
      host.storage.devices.get('/cache/a')!.gone = true
      await host.start(end)
      const { results } = await host.operations['cache.detach'](detachRequest(['web01'], flags), context)
      expect(results).toMatchObject([{ ok: false, error: { code: 'DIRTY_DATA', exit: 7 } }])
      const lost = await host.operations['cache.detach'](
        detachRequest(['web01'], { force: true, discardDirty: true }),
        context,
      )
      expect(lost.results).toMatchObject([{ ok: true }])
      expect(host.locks).toEqual(new Set())
    })

    test('a disk that never wrote anything is served whatever became of its image', async () => {
      const host = await hostWithCache()
      const image = host.image('web01.img')
      await writeBack(host, image)
      const end = await host.kill()
      host.storage.logs.clear()
      truncateSync(image, 2 * GIB)
      await host.start(end)
      expect(await show(host)).toMatchObject({ state: 'serving', sizeBytes: 2 * GIB })
    })

    test('a stamp that somebody removed is written again', async () => {
      const { host, image } = await dirty()
      const end = await host.kill()
      rmSync(stampPath(image))
      await host.start(end)
      // Who removed it may have done more.
      expect(await show(host)).toMatchObject({ state: 'changed', lacksWrites: true })
    })
  })

  describe('an engine that is stopped', () => {
    test('for good gives origins what they lack, and they are free', async () => {
      const host = await hostWithCache()
      const image = host.image('web01.img')
      await writeBack(host, image)
      host.engine.setDisk('web01', { dirtyBytes: MIB, cachedBytes: MIB })
      const end = await host.close(10_000)
      expect(stampOf(image)).toBe('no')
      expect(host.locks).toEqual(new Set())
      await host.start(end)
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: 0, cachedBytes: MIB })
      expect(await guards(host, image)).toEqual(GUARDED)
    })

    test('for good keeps guarding what an origin did not take', async () => {
      const host = await hostWithCache()
      const image = host.image('web01.img')
      await writeBack(host, image)
      host.engine.setDisk('web01', { dirtyBytes: MIB })
      host.engine.refuseWrites(image)
      const end = await host.close(10_000)
      expect(stampOf(image)).toBe('yes')
      expect(host.locks).toEqual(new Set([image]))
      await host.start(end)
      expect(await show(host)).toMatchObject({ state: 'serving', dirtyBytes: MIB })
    })

    test('to be replaced stops at once', async () => {
      const host = await hostWithCache()
      const image = host.image('web01.img')
      await writeBack(host, image)
      host.engine.setDisk('web01', { dirtyBytes: MIB })
      await host.close()
      expect(host.engine.changes()).not.toContain('detach')
      expect(stampOf(image)).toBe('yes')
    })
  })

  test('an epoch that rises says that the origin lacks nothing: its disk would not go on without its log otherwise', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    const before = (await show(host)).lease.epoch
    await host.engine.loseLog('web01')
    expect((await show(host)).lease.epoch).toBe(before + 1)
    expect(stampOf(image)).toBe('no')
    await Promise.all([host.engine.loseLog('web01'), setMode(host, 'write-through'), host.handle.retry()])
    const { epoch } = (await show(host)).lease
    expect(readFileSync(stampPath(image), 'utf8')).toContain(`epoch: ${epoch}\n`)
  })

  test('a new disk on an image that lacks writes is refused', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    host.engine.setDisk('web01', { dirtyBytes: MIB })
    await host.kill()
    const other = await testHost({ stateUrl: `${host.stateUrl}.new` })
    await other.operations['cache.create'](createRequest(), context)
    await expect(
      other.operations['cache.attach'](attachRequest(image, { name: 'again' }), context),
    ).rejects.toMatchObject({ code: 'DIRTY_DATA', hint: expect.stringContaining('vmcache cache import') })
    expect(stampOf(image)).toBe('yes')
  })

  test('flushing changes nothing about who may write', async () => {
    const host = await hostWithCache()
    const image = host.image('web01.img')
    await writeBack(host, image)
    host.engine.setDisk('web01', { dirtyBytes: MIB })
    await host.operations['disk.flush'](targets(['web01']), context)
    expect(await guards(host, image)).toEqual(GUARDED)
  })
})
