import { beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import type { RequestOf } from '../../../src/protocol/control/routes.js'
import type { FakeVm } from '../../support/fake-vm-driver.js'
import { context, createRequest, GIB, MIB, targets, testHost, type TestHost } from './test-host.js'

/** What a VM of 256 MiB needs, in chunks of 16 MiB. */
const NEEDED = 19

let host: TestHost

beforeEach(async () => {
  host = await testHost()
  host.storage.devices.set('/cache/a', { sizeBytes: 40 * 16 * MIB, content: 'empty', gone: false })
  await host.operations['cache.create'](createRequest({ devices: [{ path: '/cache/a', sizeBytes: null }] }), context)
  await define('web01')
  await define('web02')
})

const define = (name: string) =>
  host.operations['vm.define'](
    {
      ...{ name, memoryBytes: 2 ** 28, cpus: 1, accelerator: 'tcg', kernel: null, initrd: null, append: null },
      ...{ disks: [{ path: host.image(`${name}.img`), format: 'raw' }], qemuArguments: [], dryRun: false },
    },
    context,
  )
const set = (name: string, changes: Partial<RequestOf<'vm.set'>>) =>
  host.operations['vm.set']({ name, dryRun: false, ...changes }, context)
const start = (...names: string[]) => host.operations['vm.start'](targets(names), context)
const stop = (...names: string[]) => host.operations['vm.stop']({ ...targets(names), force: true }, context)
const pace = { perHour: null, atOnce: null }
const suspend = (name: string) =>
  host.operations['vm.suspend']({ ...targets([name]), idleSeconds: null, ...pace }, context)
const resume = (name: string) => host.operations['vm.resume']({ ...targets([name]), ...pace }, context)
const show = (name = 'web01') => host.operations['vm.show']({ name }, context)
const vmOf = (name: string): FakeVm => [...host.drivers.qemu.vms.values()].find((vm) => vm.name === name)!
const chunks = () => host.engine.caches()[0]!.chunks

describe('rapid suspend', () => {
  test('room for the memory is kept from the start of a VM to its end', async () => {
    expect(await set('web01', { rapidSuspend: 'on' })).toMatchObject({
      changed: true,
      vm: { policy: { rapidSuspend: 'on', idleTimeoutSeconds: null }, reservation: null },
    })
    expect(await set('web01', { rapidSuspend: 'on' })).toMatchObject({ changed: false })
    await start('web01')
    expect(await show()).toMatchObject({ reservation: { cache: 'fast', bytes: NEEDED * 16 * MIB } })
    expect(chunks().reserved).toBe(NEEDED)
    await stop('web01')
    expect(await show()).toMatchObject({ reservation: null })
    expect(chunks().reserved).toBe(0)
  })

  test('where there is no room the VM is not started, unless that is best effort', async () => {
    host.storage.streamBytes = 256 * MIB
    for (const name of ['web01', 'web02']) await set(name, { rapidSuspend: 'on' })
    await define('web03')
    await set('web03', { rapidSuspend: 'on' })
    await start('web01', 'web02')
    expect(chunks().reserved).toBe(2 * NEEDED)
    expect(await start('web03')).toMatchObject({
      results: [{ error: { code: 'NO_SPACE', exit: 5, hint: expect.stringContaining('best-effort') } }],
    })
    expect(vmOf('web03')?.state ?? 'off').toBe('off')
    await set('web03', { rapidSuspend: 'best-effort' })
    expect(await start('web03')).toMatchObject({ results: [{ ok: true }] })
    expect(await show('web03')).toMatchObject({ reservation: { bytes: 2 * 16 * MIB } })
  })

  test('a VM that does not start keeps nothing', async () => {
    await set('web01', { rapidSuspend: 'on' })
    host.drivers.qemu.fail.set('start', new VmcacheError('HYPERVISOR', 'no'))
    expect(await start('web01')).toMatchObject({ results: [{ ok: false }] })
    expect(chunks().reserved).toBe(0)
  })

  test('of a running VM it is made at once, or nothing changes', async () => {
    await start('web01', 'web02')
    await set('web01', { rapidSuspend: 'on' })
    expect(chunks().reserved).toBe(NEEDED)
    host.engine.failNext('reserve', new VmcacheError('NO_SPACE', 'full'))
    await expect(set('web02', { rapidSuspend: 'on' })).rejects.toMatchObject({ code: 'NO_SPACE' })
    expect(await show('web02')).toMatchObject({ policy: { rapidSuspend: 'off' } })
    await set('web01', { rapidSuspend: 'off' })
    expect(chunks().reserved).toBe(0)
  })

  test('what was reserved becomes the checkpoint, and the other way round', async () => {
    host.storage.streamBytes = 5 * 16 * MIB
    await set('web01', { rapidSuspend: 'on' })
    await start('web01')
    await suspend('web01')
    expect(chunks()).toMatchObject({ checkpoint: 5, reserved: 0 })
    await resume('web01')
    expect(chunks()).toMatchObject({ checkpoint: 0, reserved: NEEDED })
  })

  test('a VM whose suspend fails has its room still', async () => {
    await set('web01', { rapidSuspend: 'on' })
    await start('web01')
    host.engine.failNext('writeCheckpoint', new VmcacheError('DEVICE_FAILED', 'no'))
    expect(await suspend('web01')).toMatchObject({ results: [{ ok: false }] })
    expect(chunks().reserved).toBe(NEEDED)
  })

  test('the engine that follows promises it anew; a VM that others end gives it up', async () => {
    await set('web01', { rapidSuspend: 'on' })
    await start('web01')
    await host.start(await host.kill())
    expect(chunks().reserved).toBe(0)
    await host.handle.reconcileVms(null)
    expect(await show()).toMatchObject({ reservation: { cache: 'fast' } })
    expect(chunks().reserved).toBe(NEEDED)
    vmOf('web01').state = 'off'
    await host.handle.reconcileVms(null)
    expect(chunks().reserved).toBe(0)
  })

  test('a domain of libvirt has it too, whoever starts and ends it', async () => {
    host.drivers.libvirt.add('db01', { vda: host.image('db01.img', GIB) })
    await host.operations['vm.adopt']({ domains: ['db01'], connect: null, dryRun: false }, context)
    await set('db01', { rapidSuspend: 'on' })
    host.drivers.libvirt.startByHand('db01')
    await host.handle.reconcileVms(null)
    expect(await show('db01')).toMatchObject({ reservation: { cache: 'fast', bytes: NEEDED * 16 * MIB } })
    await suspend('db01')
    expect(await show('db01')).toMatchObject({ state: 'suspended', reservation: null })
    await resume('db01')
    expect(chunks().reserved).toBe(NEEDED)
  })
})

describe('idle timeout', () => {
  async function pass(seconds: number): Promise<void> {
    for (let passed = 0; passed < seconds; passed += 15) {
      host.aheadMonotonic += 15_000
      await host.handle.observeActivities()
    }
  }
  const attempts = () => host.engine.calls.filter(({ method }) => method === 'writeCheckpoint').length

  test('a VM that has been idle for so long is suspended by the engine, another is not', async () => {
    await set('web01', { idleTimeoutSeconds: 300 })
    await start('web01', 'web02')
    await pass(300)
    expect((await show()).state).toBe('running')
    await pass(30)
    await expect.poll(async () => (await show()).state).toBe('suspended')
    expect((await show()).reason).toMatch(/^idle 5 min \(policy\)$/)
    expect((await show('web02')).state).toBe('running')
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: 'web01', disk: null }, context)
    expect(events.at(-1)).toMatchObject({ what: 'vm.suspend', who: 'policy', result: 'ok' })
  })

  test('one that could not be suspended is left alone for an hour', async () => {
    await set('web01', { idleTimeoutSeconds: 60 })
    await start('web01')
    const full = () => host.engine.failNext('writeCheckpoint', new VmcacheError('NO_SPACE', 'full'))
    full()
    await pass(90)
    await expect.poll(attempts).toBe(1)
    full()
    await pass(3000)
    expect(attempts()).toBe(1)
    await pass(700)
    await expect.poll(attempts).toBe(2)
    expect((await show()).state).toBe('running')
  })

  test('it is not suspended any more where that is not wanted, or the engine ends', async () => {
    await set('web01', { idleTimeoutSeconds: 60 })
    await start('web01')
    await pass(60)
    await set('web01', { idleTimeoutSeconds: null })
    await pass(120)
    expect(attempts()).toBe(0)
    await set('web01', { idleTimeoutSeconds: 60 })
    await host.close()
    await pass(15)
    expect(attempts()).toBe(0)
  })
})

describe('schedule', () => {
  /** To a time of the next day, in steps of ten minutes. */
  async function passUntil(time: string): Promise<void> {
    const now = () => new Date(Date.now() + host.ahead)
    const until = new Date(now())
    until.setUTCDate(until.getUTCDate() + 1)
    until.setUTCHours(Number(time.slice(0, 2)), Number(time.slice(3)), 0, 0)
    while (now() < until) {
      const step = Math.min(600_000, until.getTime() - now().getTime() + 1)
      host.ahead += step
      host.aheadMonotonic += step
      await host.handle.observeActivities()
    }
  }
  /** To a time of day, when it is next. */
  async function passTo(time: string, step = 600_000): Promise<void> {
    const now = () => Date.now() + host.ahead
    const until = new Date(now())
    until.setUTCHours(Number(time.slice(0, 2)), Number(time.slice(3)), 0, 0)
    if (until.getTime() <= now()) until.setUTCDate(until.getUTCDate() + 1)
    while (now() < until.getTime()) {
      const passed = Math.min(step, until.getTime() - now() + 1)
      host.ahead += passed
      host.aheadMonotonic += passed
      await host.handle.observeActivities()
    }
  }
  const states = async () => [(await show('web01')).state, (await show('web02')).state]

  beforeEach(async () => {
    await start('web01', 'web02')
    await set('web01', { suspendAt: '0 22 * * *', resumeAt: '30 7 * * *', timeZone: 'UTC' })
  })

  test('a VM is suspended and resumed at its times, and says when', async () => {
    await passUntil('21:50')
    expect(await states()).toEqual(['running', 'running'])
    await passUntil('22:00')
    await expect.poll(states).toEqual(['suspended', 'running'])
    const { reason, resumesAt } = await show()
    expect(reason).toBe('asked for (schedule)')
    expect(resumesAt).toMatch(/T07:30:00.000Z$/)
    await passUntil('07:20')
    expect(await states()).toEqual(['suspended', 'running'])
    await passUntil('07:30')
    await expect.poll(states).toEqual(['running', 'running'])
    expect((await show()).resumesAt).toBeNull()
  })

  describe('with storage for what is suspended for long', () => {
    const location = async () => (await show()).checkpoint?.location

    beforeEach(async () => {
      await expect(set('web01', { storageAfterSeconds: 3600 })).rejects.toMatchObject({ code: 'BAD_CONFIG' })
      host.checkpointDirectory = '/storage/checkpoints'
      await host.start(await host.kill())
      await set('web01', { storageAfterSeconds: 3600 })
      await passTo('21:50')
      await passTo('22:00')
      await expect.poll(location).toBe('cache')
    })

    test('it goes there, and is back in the cache for its time', async () => {
      await passTo('22:50')
      expect(await location()).toBe('cache')
      await passTo('23:10')
      await expect.poll(location).toBe('storage')
      await passTo('07:20')
      expect(await location()).toBe('storage')
      await passTo('07:28', 15_000)
      await expect.poll(location).toBe('cache')
      await passTo('07:30', 15_000)
      await expect.poll(states).toEqual(['running', 'running'])
    })

    test('resumed before its time it comes from there', async () => {
      await passTo('23:10')
      await expect.poll(location).toBe('storage')
      expect(await resume('web01')).toMatchObject({ changed: true, results: [{ ok: true }] })
      expect(await states()).toEqual(['running', 'running'])
    })

    test('without room to come back it comes from there, and that is tried once', async () => {
      await passTo('23:10')
      await expect.poll(location).toBe('storage')
      const copies = () => host.engine.calls.filter(({ method }) => method === 'copyCheckpoint').length
      const before = copies()
      host.engine.failNext('copyCheckpoint', new VmcacheError('NO_SPACE', 'no room'))
      await passTo('07:20')
      await passTo('07:29', 15_000)
      await expect.poll(() => copies() - before).toBe(1)
      expect(await location()).toBe('storage')
      await passTo('07:30', 15_000)
      await expect.poll(states).toEqual(['running', 'running'])
    })
  })

  test('one that runs already is not resumed, one that is off not suspended, and nobody is told of a failure', async () => {
    await stop('web01')
    await passUntil('22:00')
    await passUntil('07:30')
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: 'web01', disk: null }, context)
    expect(events.at(-1)).toMatchObject({ what: 'vm.stop' })
  })

  test('of times that passed in one moment the last one counts', async () => {
    await passUntil('21:00')
    host.ahead += 11 * 3_600_000
    host.aheadMonotonic += 11 * 3_600_000
    await host.handle.observeActivities()
    expect(await states()).toEqual(['running', 'running'])
    expect(host.engine.calls.some(({ method }) => method === 'writeCheckpoint')).toBe(false)
  })

  test('what is no schedule is refused, and nothing changes', async () => {
    await expect(set('web01', { suspendAt: 'at night' })).rejects.toMatchObject({ code: 'USAGE', exit: 2 })
    await expect(set('web01', { timeZone: 'Mars' })).rejects.toMatchObject({ code: 'USAGE' })
    expect(await show()).toMatchObject({ policy: { suspendAt: '0 22 * * *', timeZone: 'UTC' } })
    expect(await set('web01', { suspendAt: null, resumeAt: null, timeZone: null })).toMatchObject({ changed: true })
  })
})
