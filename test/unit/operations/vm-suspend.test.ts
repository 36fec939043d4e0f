import { utimesSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import type { RequestOf } from '../../../src/protocol/control/routes.js'
import type { FakeVm, FakeVmDriver } from '../../support/fake-vm-driver.js'
import { context, createRequest, GIB, MIB, targets, testHost, type TestHost } from './test-host.js'

/** Both drivers do the same. */
describe.each(['qemu', 'libvirt'] as const)('of %s:', (kind) => {
  let host: TestHost
  let driver: FakeVmDriver
  let web: FakeVm

  beforeEach(async () => {
    host = await testHost()
    driver = host.drivers[kind]
    host.storage.devices.set('/cache/a', { sizeBytes: 4 * GIB, content: 'empty', gone: false })
    await host.operations['cache.create'](createRequest(), context)
    web = await running('web01')
  })

  /** A VM that runs, with one disk in write-back. */
  async function running(name: string): Promise<FakeVm> {
    if (kind === 'qemu') {
      await host.operations['vm.define'](
        {
          ...{ name, memoryBytes: 2 ** 28, cpus: 1, accelerator: 'tcg', kernel: null, initrd: null, append: null },
          ...{ disks: [{ path: host.image(`${name}.img`), format: 'raw' }], qemuArguments: [], dryRun: false },
        },
        context,
      )
    } else {
      driver.add(name, { vda: host.image(`${name}.img`) })
      await host.operations['vm.adopt']({ domains: [name], connect: null, dryRun: false }, context)
    }
    await host.operations['vm.attach'](
      {
        ...{ cache: 'fast', vm: name, targets: [], mode: 'write-back', replacement: 's3-fifo', exclusive: false },
        ...{ minBytes: 0, maxBytes: null, shares: 100, writeBack: DEFAULT_WRITE_BACK, dryRun: false },
      },
      context,
    )
    await host.operations['vm.start'](targets([name]), context)
    return [...driver.vms.values()].find((vm) => vm.name === name)!
  }

  const suspend = (names: string[] = ['web01'], changes: Partial<RequestOf<'vm.suspend'>> = {}) =>
    host.operations['vm.suspend'](
      { ...targets(names), idleSeconds: null, perHour: null, atOnce: null, ...changes },
      context,
    )
  const resume = (names: string[] = ['web01'], changes: Partial<RequestOf<'vm.resume'>> = {}) =>
    host.operations['vm.resume']({ ...targets(names), perHour: null, atOnce: null, ...changes }, context)
  const forget = (names: string[] = ['web01'], discardMemory = false) =>
    host.operations['checkpoint.delete']({ ...targets(names), discardMemory }, context)
  const show = (name = 'web01') => host.operations['vm.show']({ name }, context)
  const start = (name = 'web01') => host.operations['vm.start'](targets([name]), context)
  const disk = (name = 'web01/vda') => host.operations['disk.show']({ name }, context)
  const checkpoints = async () => (await host.operations['checkpoint.list']({}, context)).checkpoints
  const kept = () => [...host.storage.checkpoints.values()]
  const recordedStates = async () => {
    const [own] = await host.state.hosts.list()
    return (await host.state.checkpoints.list(own!.id)).map(({ state }) => state)
  }

  async function pass(seconds: number): Promise<void> {
    for (let passed = 0; passed < seconds; passed += 15) {
      host.aheadMonotonic += 15_000
      await host.handle.observeActivities()
    }
  }

  describe('vm suspend', () => {
    test('the memory is in the cache, the origin has everything, and the VM is off', async () => {
      host.engine.setDisk('web01/vda', { dirtyBytes: 4096 })
      const dirtyWhenWritten: number[] = []
      driver.onCommand = (command) => {
        if (command === 'migrate') dirtyWhenWritten.push(host.storage.logs.values().next().value!.dirtyBytes)
      }
      expect(await suspend()).toMatchObject({ changed: true, results: [{ name: 'web01', ok: true, changed: true }] })
      expect(dirtyWhenWritten).toEqual([0])
      expect(web.state).toBe('off')
      expect(host.suspended).toEqual(kind === 'libvirt' ? ['web01'] : [])
      expect(await show()).toMatchObject({
        state: 'suspended',
        reason: 'asked for (root (uid 0))',
        checkpoint: { cache: 'fast', location: 'cache', path: null, bytes: 64 * MIB },
      })
      expect(await disk()).toMatchObject({ dirtyBytes: 0, lacksWrites: false, mode: { inForce: 'write-through' } })
      expect(host.locks.size).toBe(0)
      expect(await checkpoints()).toMatchObject([
        {
          ...{ vm: 'web01', uuid: web.uuid, cache: 'fast', state: 'suspended', storedBytes: 64 * MIB, damage: null },
          ...{ qemu: { version: '7.2.22', machine: 'pc-q35-7.2' }, disks: [{ target: 'vda' }] },
        },
      ])
      expect(await suspend()).toMatchObject({ changed: false, results: [{ ok: true }] })
      const { events } = await host.operations['event.list']({ sinceAt: null, vm: 'web01', disk: null }, context)
      expect(events.at(-1)).toMatchObject({ what: 'vm.suspend', result: 'ok' })
    })

    test('it ends only when its checkpoint is on record', async () => {
      const states: string[] = []
      const { destroy } = driver
      driver.destroy = async (vm) => {
        states.push(...(await recordedStates()))
        return destroy(vm)
      }
      await suspend()
      expect(states).toEqual(['suspended'])
    })

    test.each<[string, () => void, string]>([
      ['QEMU does not stop it', () => driver.fail.set('stop', new VmcacheError('HYPERVISOR', 'no')), 'HYPERVISOR'],
      ['QEMU does not save it', () => driver.fail.set('migrate', new VmcacheError('HYPERVISOR', 'no')), 'HYPERVISOR'],
      ['there is no room', () => (host.storage.streamBytes = 8 * GIB), 'NO_SPACE'],
      ['the cache fails', () => host.engine.failNext('writeCheckpoint'), 'FAILED'],
      ['the origin does not take what is dirty', () => host.engine.failNext('change'), 'FAILED'],
      [
        'it cannot be recorded',
        () => (driver.onCommand = (command) => (command === 'migrate' ? host.state.fail('all') : undefined)),
        'FAILED',
      ],
    ])('where %s, the VM goes on as before', async (_, plant, code) => {
      plant()
      expect(await suspend()).toMatchObject({ changed: false, results: [{ ok: false, error: { code } }] })
      driver.fail.clear()
      driver.onCommand = () => {}
      host.state.mend()
      await host.handle.reconcileVms(null)
      expect(web.state).toBe('running')
      expect(await show()).toMatchObject({ state: 'running', checkpoint: null })
      expect(await disk()).toMatchObject({ mode: { inForce: 'write-back' } })
      expect(kept()).toEqual([])
      expect(await recordedStates()).toEqual([])
      expect(driver.log).not.toContain('destroy')
    })

    test('a stream that QEMU cuts off is no checkpoint, although the cache has it whole', async () => {
      const { writeCheckpoint } = host.engine
      host.engine.writeCheckpoint = (cache, source, watch) =>
        writeCheckpoint(cache, source, { ...watch, signal: new AbortController().signal })
      driver.onCommand = (command) => {
        if (command === 'migrate') driver.fail.set('query-migrate', new VmcacheError('HYPERVISOR', 'no'))
      }
      expect(await suspend()).toMatchObject({ results: [{ ok: false, error: { code: 'HYPERVISOR' } }] })
      expect(host.engine.calls.some(({ method }) => method === 'writeCheckpoint')).toBe(true)
      expect(kept()).toEqual([])
      expect(await recordedStates()).toEqual([])
      expect(web.state).toBe('running')
    })

    test('what cannot be suspended is an error where it was named, and left out by filters', async () => {
      const other = host.drivers.libvirt.add('db01', { vda: host.image('db01.img') })
      await host.operations['vm.adopt']({ domains: ['db01'], connect: null, dryRun: false }, context)
      host.drivers.libvirt.startByHand('db01')
      other.description = 'd'.repeat(50_000)
      expect(await suspend(['db01'])).toMatchObject({ results: [{ error: { code: 'REFUSED', exit: 7 } }] })
      other.description = ''
      other.isTransient = true
      expect(await suspend(['db01'])).toMatchObject({ results: [{ error: { code: 'REFUSED', exit: 7 } }] })
      web.blocked = ["VFIO device doesn't support migration"]
      expect(await suspend()).toMatchObject({
        results: [{ error: { exit: 9, message: expect.stringContaining('VFIO') } }],
      })
      expect(await suspend([], { all: true })).toEqual({ changed: false, results: [] })
      expect(await suspend(['*0*'])).toEqual({ changed: false, results: [] })
      expect(other.state).toBe('running')
      web.blocked = []
      web.nodes.set('other', { driver: 'raw', file: null, fileName: '/images/other.img', sizeBytes: MIB })
      web.drives.set('vdx', 'other')
      expect(await suspend()).toMatchObject({
        results: [{ error: { code: 'REFUSED', exit: 7, message: expect.stringContaining('/images/other.img') } }],
      })
      web.drives.delete('vdx')
      web.state = 'paused'
      expect(await suspend()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE', exit: 4 } }] })
      web.state = 'off'
      expect(await suspend()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE' } }] })
      expect(await suspend(['nobody'])).toMatchObject({ results: [{ error: { code: 'VM_NOT_FOUND' } }] })
    })

    test('a dry run names the steps and does nothing', async () => {
      const before = driver.log.length
      expect(await suspend(['web01'], { dryRun: true })).toMatchObject({
        changed: true,
        steps: [
          'stop VM web01',
          'write what the origin of web01/vda lacks',
          'write its memory to cache fast',
          'end VM web01',
        ],
      })
      expect(driver.log.length).toBe(before)
      expect(await recordedStates()).toEqual([])
    })

    test('exactly those that are idle, and a second time none', async () => {
      await running('busy')
      await running('idle')
      const busy = [...driver.vms.values()].find(({ name }) => name === 'busy')!
      for (let minute = 0; minute < 3; minute++) {
        busy.load = { cpuSeconds: busy.load.cpuSeconds + 30, diskRequests: 0 }
        await pass(60)
        if (minute === 0) web.load = { cpuSeconds: 20, diskRequests: 0 }
      }
      const idle = () => suspend([], { all: true, idleSeconds: 120 })
      expect(await idle()).toMatchObject({ changed: true, results: [{ name: 'idle', ok: true, changed: true }] })
      expect((await show('idle')).reason).toBe('idle 2 min (root (uid 0))')
      expect(await idle()).toEqual({ changed: false, results: [] })
      expect(await suspend(['busy'], { idleSeconds: 60 })).toEqual({ changed: false, results: [] })
    })

    test('one whose console was opened a moment ago is left alone, whatever else it does', async () => {
      await pass(180)
      web.isWatched = true
      expect(await suspend([], { all: true, idleSeconds: 120 })).toEqual({ changed: false, results: [] })
      web.isWatched = false
      expect(await suspend([], { all: true, idleSeconds: 120 })).toMatchObject({ changed: true })
    })

    test('so many begin in an hour; one that wakes while it waits goes on', async () => {
      await running('web02')
      await pass(600)
      let ended = false
      const both = suspend([], { all: true, idleSeconds: 400, perHour: 1 })
      void both.then(() => (ended = true))
      await expect.poll(() => kept().length).toBe(1)
      host.aheadMonotonic += 3_500_000
      await new Promise((resolve) => setTimeout(resolve, 500))
      expect(ended).toBe(false)
      const left = [...driver.vms.values()].find(({ state }) => state === 'running')!
      left.isWatched = true
      await pass(15)
      host.aheadMonotonic += 200_000
      expect((await both).results.filter(({ changed }) => changed)).toHaveLength(1)
      expect(left.state).toBe('running')
    })
  })

  describe('vm resume', () => {
    beforeEach(() => suspend())

    test('the VM goes on through its cache, and the checkpoint is gone', async () => {
      const statesAt = new Map<string, string[]>()
      const { resume: goOn } = driver
      driver.resume = async (vm) => {
        statesAt.set('cont', await recordedStates())
        return goOn(vm)
      }
      expect(await resume()).toMatchObject({ changed: true, results: [{ ok: true }] })
      expect(statesAt.get('cont')).toEqual(['consumed'])
      expect(web.state).toBe('running')
      expect(driver.log).toContain('start, awaiting memory')
      expect(await show()).toMatchObject({ state: 'running', checkpoint: null, disks: [{ path: 'cached' }] })
      expect(await disk()).toMatchObject({ mode: { inForce: 'write-back' } })
      expect(kept()).toEqual([])
      expect(await recordedStates()).toEqual([])
      expect(await resume()).toMatchObject({ changed: false, results: [{ ok: true }] })
      expect(host.suspended).toEqual([])
    })

    test('the clock of its guest is set once it runs; what an agent does not do is an event, and nobody waits long', async () => {
      const clockEvents = async () => {
        const { events } = await host.operations['event.list']({ sinceAt: null, vm: 'web01', disk: null }, context)
        return events.filter(({ what }) => what === 'vm.clock').map(({ result, why }) => [result, why])
      }
      await resume()
      expect(await clockEvents()).toEqual([])
      web.agent = async () => expect(web.state).toBe('running')
      await suspend()
      expect(await resume()).toMatchObject({ changed: true })
      expect(driver.log.slice(-2)).toContain('set clock')
      expect(await clockEvents()).toEqual([['ok', 'it had stood still']])
      web.agent = () => Promise.reject(new VmcacheError('HYPERVISOR', 'the agent is not connected'))
      await suspend()
      expect(await resume()).toMatchObject({ changed: true, results: [{ ok: true }] })
      let isCancelled = false
      web.agent = (signal) =>
        new Promise(() => signal.addEventListener('abort', () => void (isCancelled = true), { once: true }))
      await suspend()
      const began = performance.now()
      expect(await resume()).toMatchObject({ changed: true, results: [{ ok: true }] })
      expect(performance.now() - began).toBeLessThan(4000)
      expect(isCancelled).toBe(true)
      expect((await clockEvents()).slice(1)).toEqual([
        ['HYPERVISOR', 'the agent is not connected'],
        ['HYPERVISOR', 'no agent of the guest answers within 2 s'],
      ])
      expect(await show()).toMatchObject({ state: 'running', checkpoint: null })
    })

    test('the engine that follows knows it', async () => {
      await host.start(await host.kill())
      expect(await show()).toMatchObject({ state: 'suspended' })
      expect(await resume([], { all: true })).toMatchObject({ changed: true })
      expect(web.state).toBe('running')
      expect(await resume([], { all: true })).toEqual({ changed: false, results: [] })
    })

    test('S7: never against a disk that has changed since', async () => {
      const now = new Date()
      utimesSync(`${host.directory}/web01.img`, now, now)
      expect(await resume()).toMatchObject({
        results: [{ error: { code: 'ORIGIN_CHANGED', exit: 7, hint: expect.stringContaining('--discard-memory') } }],
      })
      expect(await show()).toMatchObject({ state: 'suspended' })
      expect(driver.log).not.toContain('start, awaiting memory')
    })

    test('S7: never where it ran without its memory, and its storage gets what it wrote only now', async (context) => {
      if (kind === 'qemu') return context.skip('only vmcache starts its VMs')
      driver.startByHand('web01')
      await host.handle.reconcileVms(null)
      expect(await disk()).toMatchObject({ mode: { inForce: 'write-back' } })
      expect(await show()).toMatchObject({ state: 'running' })
      expect(await resume()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE' } }] })
      web.state = 'off'
      const { change } = host.engine
      host.engine.change = async (...args) => {
        const now = new Date()
        utimesSync(`${host.directory}/web01.img`, now, now)
        return change(...args)
      }
      expect(await resume()).toMatchObject({ results: [{ error: { code: 'ORIGIN_CHANGED' } }] })
      expect(driver.log).not.toContain('start, awaiting memory')
    })

    test('S7: never a checkpoint with a flipped bit: refused before the VM is touched', async () => {
      kept()[0]!.isCorrupt = true
      expect(await resume()).toMatchObject({ results: [{ error: { code: 'CORRUPT' } }] })
      expect(driver.log).not.toContain('start, awaiting memory')
      expect(kept()).toHaveLength(1)
    })

    test.each<[[number, number, number], string, boolean]>([
      [[7, 2, 30], 'pc-q35-7.2', true],
      [[8, 0, 0], 'pc-q35-7.2', false],
      [[7, 2, 22], 'pc-q35-7.1', false],
    ])('by QEMU %j as %s: %s', async (version, machine, goesOn) => {
      web.qemu = { version, machine }
      const result = await resume()
      if (goesOn) return expect(result).toMatchObject({ results: [{ ok: true }] })
      expect(result).toMatchObject({
        results: [{ error: { code: 'HYPERVISOR', hint: expect.stringContaining('--discard-memory') } }],
      })
      expect(web.state).toBe('off')
      expect(await recordedStates()).toEqual(['suspended'])
      // A domain can be asked only when libvirt has restored it.
      if (kind === 'qemu') expect(driver.log).not.toContain('migrate-incoming')
      expect(driver.log.at(-1)).toBe('destroy')
    })

    test.each<[string, () => void]>([
      ['QEMU does not start', () => driver.fail.set('start', new VmcacheError('HYPERVISOR', 'no'))],
      ['its memory is not loaded', () => driver.fail.set('migrate-incoming', new VmcacheError('HYPERVISOR', 'no'))],
      ['the cache fails', () => host.engine.failNext('readCheckpoint')],
    ])('where %s, it is suspended as before', async (_, plant) => {
      plant()
      expect(await resume()).toMatchObject({ changed: false, results: [{ ok: false }] })
      driver.fail.clear()
      expect(await show()).toMatchObject({ state: 'suspended' })
      expect(await resume()).toMatchObject({ changed: true })
    })

    test('a suspended VM is not started, nor forgotten, nor is its cache deleted', async () => {
      const hint = expect.stringMatching(/vm resume web01.*checkpoint delete web01 --discard-memory/)
      expect(await start()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE', exit: 4, hint } }] })
      expect(await host.operations['vm.start'](targets(['web*']), context)).toMatchObject({
        changed: false,
        results: [{ ok: true }],
      })
      await host.operations['cache.detach']({ ...targets(['web01/vda']), discardDirty: false, force: false }, context)
      const forgetVm = kind === 'qemu' ? 'vm.delete' : 'vm.release'
      expect(await host.operations[forgetVm](targets(['web01']), context)).toMatchObject({
        results: [{ error: { code: 'WRONG_STATE' } }],
      })
      await expect(
        host.operations['cache.delete']({ name: 'fast', discardDirty: false, dryRun: false }, context),
      ).rejects.toMatchObject({ code: 'IN_USE', message: expect.stringContaining('web01') })
    })

    test('its memory is lost only where that is said; then it is started', async () => {
      expect(await forget()).toMatchObject({ results: [{ error: { code: 'REFUSED', exit: 7 } }] })
      expect(await forget(['nobody'])).toMatchObject({ results: [{ error: { code: 'NOT_FOUND', exit: 3 } }] })
      expect(await forget(['web01'], true)).toMatchObject({ changed: true })
      expect(kept()).toEqual([])
      expect(await start()).toMatchObject({ results: [{ ok: true }] })
    })

    test('a checkpoint that its cache has not got any more is shown, and said to somebody', async () => {
      host.storage.checkpoints.clear()
      expect(await checkpoints()).toMatchObject([{ state: 'suspended', damage: 'cache fast does not have it' }])
      expect((await host.operations['status.show']({}, context)).attention).toContainEqual(
        expect.objectContaining({ object: 'VM web01', reason: 'cache fast does not have it' }),
      )
      expect(await resume()).toMatchObject({ results: [{ error: { code: 'NOT_FOUND' } }] })
      expect(await forget(['web01'], true)).toMatchObject({ changed: true })
    })

    test('a checkpoint that is not on record is shown, and is only deleted', async () => {
      await host.state.checkpoints.delete((await checkpoints())[0]!.id)
      await host.start(await host.kill())
      const [found] = await checkpoints()
      expect(found).toMatchObject({ vm: 'web01', state: 'unrecorded' })
      expect((await host.operations['status.show']({}, context)).attention).toContainEqual(
        expect.objectContaining({ object: `checkpoint ${found!.id}`, state: 'unrecorded' }),
      )
      expect(await resume()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE' } }] })
      expect(await forget([found!.id], true)).toMatchObject({ changed: true })
      expect(await checkpoints()).toEqual([])
      expect(host.suspended).toEqual([])
    })
  })

  describe('S3: what an engine leaves that dies in between is brought to an end', () => {
    /** The engine dies when that command is given to QEMU; QEMU lives on. */
    async function dieAt(command: string, work: () => Promise<unknown>): Promise<void> {
      await new Promise<void>((resolve) => {
        driver.onCommand = (given) => {
          if (given !== command) return
          driver.onCommand = () => {}
          resolve()
          throw new VmcacheError('HYPERVISOR', 'the engine is dead')
        }
        // Nothing that it does afterwards counts.
        void work().catch(() => {})
      })
    }

    test.each(['stop', 'migrate'])('suspending, at %s: the VM goes on', async (command) => {
      const { resume: goOn } = driver
      driver.resume = () => new Promise(() => {})
      await dieAt(command, () => suspend())
      expect(await recordedStates()).toEqual(['suspending'])
      driver.resume = goOn
      await host.start(await host.kill())
      await host.handle.reconcileVms(null)
      expect(web.state).toBe('running')
      expect(await recordedStates()).toEqual([])
      expect(kept()).toEqual([])
    })

    test('suspending, and the host died with it: the VM is off, and can be started', async () => {
      const { resume: goOn } = driver
      driver.resume = () => new Promise(() => {})
      await dieAt('migrate', () => suspend())
      driver.resume = goOn
      web.state = 'off'
      await host.start(await host.kill())
      await host.handle.reconcileVms(null)
      expect(await recordedStates()).toEqual([])
      expect(await start()).toMatchObject({ results: [{ ok: true }] })
    })

    test('suspended, and not ended: it is ended', async () => {
      const { destroy } = driver
      driver.destroy = () => new Promise(() => {})
      void suspend()
      await expect.poll(recordedStates).toEqual(['suspended'])
      driver.destroy = destroy
      expect(web.state).toBe('postmigrate')
      await host.start(await host.kill())
      await host.handle.reconcileVms(null)
      expect(web.state).toBe('off')
      expect(await resume()).toMatchObject({ changed: true })
    })

    test('suspended, and somebody runs it without its memory: it is left alone, also where he stops it', async () => {
      await suspend()
      driver.startByHand('web01')
      for (const state of ['running', 'paused'] as const) {
        web.state = state
        await host.handle.reconcileVms(null)
        expect(web.state).toBe(state)
      }
      expect(await recordedStates()).toEqual(['suspended'])
    })

    test.each(['paused', 'off'] as const)('resuming, and the VM is %s: it is suspended again', async (state) => {
      await suspend()
      driver.destroy = () => new Promise(() => {})
      await dieAt('migrate-incoming', () => resume())
      expect(await recordedStates()).toEqual(['resuming'])
      driver.destroy = async () => void (web.state = 'off')
      web.state = state
      await host.start(await host.kill())
      await host.handle.reconcileVms(null)
      expect(web.state).toBe('off')
      expect(await show()).toMatchObject({ state: 'suspended' })
      expect(await resume()).toMatchObject({ changed: true })
    })

    test.each([
      ['paused', 'running'],
      ['running', 'running'],
      ['off', 'off'],
    ] as const)('S7: consumed, and the VM is %s: it is %s, and not resumed again', async (state, then) => {
      await suspend()
      const { resume: goOn } = driver
      driver.resume = () => new Promise(() => {})
      void resume()
      await expect.poll(recordedStates).toEqual(['consumed'])
      driver.resume = goOn
      web.state = state
      await host.start(await host.kill())
      await host.handle.reconcileVms(null)
      expect(web.state).toBe(then)
      expect(await recordedStates()).toEqual([])
      expect(kept()).toEqual([])
    })
  })
})
