import { unlinkSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { VmcacheError } from '../../../src/base/errors.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import type { AttachVmRequest, DefineVmRequest } from '../../../src/protocol/control/documents.js'
import { createStampFiles, stampPath } from '../../../src/operations/stamp.js'
import type { FakeVm, FakeVmDriver } from '../../support/fake-vm-driver.js'
import {
  attachRequest,
  context,
  createRequest,
  detachRequest,
  GIB,
  targets,
  testHost,
  type TestHost,
} from './test-host.js'

let host: TestHost
let libvirt: FakeVmDriver
let web: FakeVm

beforeEach(async () => {
  host = await testHost()
  libvirt = host.drivers.libvirt
  host.storage.devices.set('/cache/a', { sizeBytes: 4 * GIB, content: 'empty', gone: false })
  await host.operations['cache.create'](createRequest(), context)
  web = libvirt.add('web01', { vda: host.image('web01.img'), vdb: host.image('web01b.img') })
})

const adopt = (...domains: string[]) => host.operations['vm.adopt']({ domains, connect: null, dryRun: false }, context)

const attach = (changes: Partial<AttachVmRequest> = {}) =>
  host.operations['vm.attach'](
    {
      ...{ cache: 'fast', vm: 'web01', targets: [], mode: 'write-through', replacement: 's3-fifo' },
      ...{ minBytes: 0, maxBytes: null, shares: 100, writeBack: DEFAULT_WRITE_BACK, exclusive: false, dryRun: false },
      ...changes,
    },
    context,
  )

const show = (name = 'web01') => host.operations['vm.show']({ name }, context)
const disk = (name: string) => host.operations['disk.show']({ name }, context)
const start = (...names: string[]) => host.operations['vm.start'](targets(names), context)
const stop = (...names: string[]) => host.operations['vm.stop']({ ...targets(names), force: true }, context)
const detach = (...names: string[]) => host.operations['cache.detach'](detachRequest(names), context)
const reconcile = (vm: string | null = null) => host.handle.reconcileVms(vm)
const paths = async () => (await show()).disks.map(({ target, path }) => `${target} ${path}`)

const define = (changes: Partial<DefineVmRequest> = {}) =>
  host.operations['vm.define'](
    {
      ...{ name: 'own', memoryBytes: 2 ** 28, cpus: 1, accelerator: 'tcg', kernel: null, initrd: null, append: null },
      ...{ disks: [{ path: host.image('own.img'), format: 'raw' }], qemuArguments: [], dryRun: false },
      ...changes,
    },
    context,
  )

describe('vm adopt, release', () => {
  test('a domain is taken over once, and given back', async () => {
    expect(await adopt('web01')).toMatchObject({ changed: true, results: [{ name: 'web01', ok: true }] })
    expect(await adopt('web01')).toMatchObject({ changed: false })
    expect(await show(web.uuid)).toMatchObject({
      ...{ name: 'web01', uuid: web.uuid, driver: 'libvirt', host: 'kvm07', state: 'off', onEngineLoss: 'continues' },
      disks: [
        { target: 'vda', disk: null, path: null, reason: null },
        { target: 'vdb', disk: null, path: null, reason: null },
      ],
    })
    await attach()
    expect(await host.operations['vm.release'](targets(['web01']), context)).toMatchObject({ changed: true })
    expect((await host.operations['vm.list']({}, context)).vms).toEqual([])
    expect((await host.operations['disk.list']({}, context)).disks).toEqual([])
  })

  test('a domain that libvirt does not know, and a VM that nobody adopted, are not found', async () => {
    expect(await adopt('nobody')).toMatchObject({ results: [{ error: { code: 'VM_NOT_FOUND', exit: 3 } }] })
    expect(await start('web01')).toMatchObject({ results: [{ error: { code: 'VM_NOT_FOUND' } }] })
    await expect(attach()).rejects.toMatchObject({ code: 'VM_NOT_FOUND' })
  })

  test('a domain is its UUID: renamed, it is the same VM; of two names one is refused', async () => {
    await adopt('web01')
    await attach({ targets: ['vda'] })
    web.name = 'web02'
    await reconcile()
    expect(await show('web02')).toMatchObject({ uuid: web.uuid })
    expect(await disk('web01/vda')).toMatchObject({ vm: 'web02', target: 'vda' })
    libvirt.add('web02', {}, 'other')
    web.name = 'away'
    expect(await adopt('web02')).toMatchObject({ results: [{ error: { code: 'VM_EXISTS', exit: 4 } }] })
  })
})

describe('vm define, delete', () => {
  test('is defined once, and forgotten when it is off and nothing is attached', async () => {
    expect(await define()).toMatchObject({ changed: true, vm: { name: 'own', driver: 'qemu', state: 'off' } })
    expect(await define()).toMatchObject({ changed: false })
    await expect(define({ cpus: 2 })).rejects.toMatchObject({ code: 'VM_EXISTS', exit: 4 })
    await attach({ vm: 'own' })
    const forget = () => host.operations['vm.delete'](targets(['own']), context)
    expect(await forget()).toMatchObject({ results: [{ error: { code: 'IN_USE' } }] })
    await detach('own/vda')
    await start('own')
    expect(await forget()).toMatchObject({ results: [{ error: { code: 'WRONG_STATE' } }] })
    await stop('own')
    expect(await forget()).toMatchObject({ changed: true })
    expect(await forget()).toMatchObject({ results: [{ error: { code: 'VM_NOT_FOUND' } }] })
  })

  test.each<[Partial<DefineVmRequest>, string]>([
    [{ name: 'a/b' }, 'BAD_NAME'],
    [{ memoryBytes: 1000 }, 'USAGE'],
    [{ initrd: '/initrd' }, 'USAGE'],
    [{ kernel: 'vmlinuz' }, 'USAGE'],
    [{ disks: [{ path: '/nowhere.img', format: 'raw' }] }, 'ORIGIN_NOT_FOUND'],
  ])('%j is refused', async (changes, code) => {
    await expect(define(changes)).rejects.toMatchObject({ code })
  })

  test('a domain of libvirt is not deleted, one of ours is not released', async () => {
    await adopt('web01')
    await define()
    const forget = await host.operations['vm.delete'](targets(['web01']), context)
    expect(forget).toMatchObject({ results: [{ error: { code: 'REFUSED' } }] })
    const release = await host.operations['vm.release'](targets(['own']), context)
    expect(release).toMatchObject({ results: [{ error: { code: 'REFUSED' } }] })
  })
})

describe('S2 D3: cache attach --vm', () => {
  beforeEach(() => adopt('web01'))

  test('live: what is cached is forgotten before the requests of a guest go through the engine, and only then', async () => {
    await attach()
    libvirt.startByHand('web01')
    const cachedAtSwitch: (number | undefined)[] = []
    libvirt.onCommand = (command) => {
      if (command !== 'blockdev-reopen') return
      cachedAtSwitch.push(host.engine.calls.filter(({ method }) => method === 'invalidate').length)
    }
    expect(await attach()).toMatchObject({ changed: true, results: [{ name: 'web01/vda' }, { name: 'web01/vdb' }] })
    expect(cachedAtSwitch[0]).toBeGreaterThanOrEqual(1)
    expect(host.engine.calls.filter(({ method }) => method === 'invalidate')).toHaveLength(2)
    expect(await paths()).toEqual(['vda cached', 'vdb cached'])
    expect(await attach()).toMatchObject({ changed: false })
    expect(libvirt.log).not.toContain('start')
    const { disks } = await attach()
    expect(disks).toMatchObject([
      { disk: 'web01/vda', vm: 'web01', target: 'vda', lease: { host: 'kvm07' } },
      { disk: 'web01/vdb', vm: 'web01', target: 'vdb' },
    ])
  })

  test('an attachment that cannot be inserted leaves nothing behind', async () => {
    libvirt.startByHand('web01')
    libvirt.fail.set('blockdev-reopen', new VmcacheError('HYPERVISOR', 'QEMU refuses: no'))
    expect(await attach({ targets: ['vda'] })).toMatchObject({
      changed: false,
      results: [{ ok: false, error: { code: 'HYPERVISOR', exit: 9 } }],
      disks: [],
    })
    expect(await paths()).toEqual(['vda direct', 'vdb direct'])
    expect((await host.operations['disk.list']({}, context)).disks).toEqual([])
    expect([...web.nodes.keys()].filter((name) => name.startsWith('vmcache-'))).toEqual([])
  })

  test('a target that is not there, and a disk that stays direct, are refused; without targets it is left out', async () => {
    web.disks[1] = { ...web.disks[1]!, whyDirect: 'shareable' }
    await expect(attach({ targets: ['vdc'] })).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' })
    expect(await attach({ targets: ['vdb'] })).toMatchObject({
      results: [{ error: { code: 'REFUSED', exit: 7, message: expect.stringContaining('shareable') } }],
    })
    expect(await attach()).toMatchObject({ results: [{ name: 'web01/vda', ok: true }] })
    expect((await show()).disks[1]).toMatchObject({ target: 'vdb', disk: null, reason: 'shareable' })
  })

  test('a dry run names the steps and does nothing', async () => {
    libvirt.startByHand('web01')
    const before = libvirt.log.length
    const plan = await attach({ dryRun: true })
    expect(plan).toMatchObject({ changed: true, dryRun: true })
    expect(plan.steps).toContain('send the requests of vda through cache')
    expect(libvirt.log.length).toBe(before)
    expect(host.engine.changes().filter((method) => method === 'attach')).toEqual([])
  })
})

describe('S2: detach', () => {
  beforeEach(async () => {
    await adopt('web01')
    libvirt.startByHand('web01')
    await attach({ targets: ['vda'], mode: 'write-back' })
  })

  test('the origin has everything before the requests of a guest go there', async () => {
    expect((await disk('web01/vda')).mode).toMatchObject({ wanted: 'write-back', inForce: 'write-back' })
    host.engine.setDisk('web01/vda', { dirtyBytes: 4096 })
    const dirtyAtSwitch: number[] = []
    const lockedAtSwitch: number[] = []
    libvirt.onCommand = (command) => {
      if (command !== 'blockdev-reopen') return
      lockedAtSwitch.push(host.locks.size)
      void host.engine.disks().then(([served]) => dirtyAtSwitch.push(served!.dirtyBytes))
    }
    expect(await detach('web01/vda')).toMatchObject({ results: [{ ok: true, changed: true }] })
    expect(dirtyAtSwitch).toEqual([0])
    // QEMU locks the image again.
    expect(lockedAtSwitch).toEqual([0])
    expect(await paths()).toEqual(['vda direct', 'vdb direct'])
    expect(host.locks.size).toBe(0)
  })

  test('where QEMU refuses, the disk goes on through its cache as before', async () => {
    libvirt.fail.set('blockdev-reopen', new VmcacheError('HYPERVISOR', 'QEMU refuses: no'))
    expect(await detach('web01/vda')).toMatchObject({ results: [{ error: { code: 'HYPERVISOR' } }] })
    expect(await paths()).toEqual(['vda cached', 'vdb direct'])
    expect((await disk('web01/vda')).mode).toMatchObject({ inForce: 'write-back' })
    libvirt.fail.clear()
    expect(await detach('web01/vda')).toMatchObject({ results: [{ ok: true }] })
  })

  test('a domain that is gone is off', async () => {
    libvirt.vms.clear()
    expect(await detach('web01/vda')).toMatchObject({ results: [{ ok: true }] })
  })
})

describe('what is wanted is made so', () => {
  beforeEach(async () => {
    await adopt('web01')
    await attach({ targets: ['vda'], mode: 'write-back' })
  })

  test('a VM that was started by hand goes through its cache, and has its mode only then', async () => {
    expect((await disk('web01/vda')).mode).toMatchObject({
      inForce: 'write-through',
      reason: expect.stringContaining('web01'),
    })
    expect(host.locks.size).toBe(0)
    libvirt.startByHand('web01')
    expect(await reconcile()).toBe(false)
    expect(await paths()).toEqual(['vda cached', 'vdb direct'])
    expect((await disk('web01/vda')).mode).toEqual({ wanted: 'write-back', inForce: 'write-back', reason: null })
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: null, disk: 'web01/vda' }, context)
    expect(events.at(-1)).toMatchObject({ what: 'vm.insert', vm: 'web01' })
    expect(await show()).toMatchObject({ onEngineLoss: 'stops' })
  })

  test('D8: when the VM is off its origin gets everything, and it may be started without us', async () => {
    libvirt.startByHand('web01')
    await reconcile()
    host.engine.setDisk('web01/vda', { dirtyBytes: 4096 })
    web.state = 'off'
    await reconcile()
    expect(await disk('web01/vda')).toMatchObject({
      dirtyBytes: 0,
      lacksWrites: false,
      mode: { inForce: 'write-through' },
    })
    expect(host.locks.size).toBe(0)
  })

  test('vm start inserts before the first instruction, vm stop gives the origins what they lack', async () => {
    await start('web01')
    const [reopened, resumed] = ['blockdev-reopen vda-format', 'cont'].map((step) => libvirt.log.indexOf(step))
    expect(reopened).toBeGreaterThan(libvirt.log.indexOf('start'))
    expect(resumed).toBeGreaterThan(reopened!)
    expect(await start('web01')).toMatchObject({ changed: false })
    host.engine.setDisk('web01/vda', { dirtyBytes: 4096 })
    expect(await stop('web01')).toMatchObject({ changed: true })
    expect(await disk('web01/vda')).toMatchObject({ dirtyBytes: 0, lacksWrites: false })
    expect(await stop('web01')).toMatchObject({ changed: false })
  })

  test.each(['libvirt', 'qemu'] as const)(
    'D11: a VM of %s does not start on an image that lacks writes',
    async (name) => {
      const driver = host.drivers[name]
      await define()
      const [vm, image] = name === 'qemu' ? ['own', host.image('own.img')] : ['web01', host.image('web01b.img')]
      const stamps = createStampFiles(systemClock)
      const theirs = { id: 'theirs', hostId: 'other', hostName: 'kvm09', disk: 'db/vda', epoch: 1, lacksWrites: true }
      await stamps.write(image, theirs)
      expect(await start(vm)).toMatchObject({
        results: [
          {
            error: {
              ...{ code: 'DIRTY_DATA', exit: 7, details: { disk: 'db/vda', path: image } },
              message: expect.stringContaining('the cache of host kvm09'),
              hint: expect.stringContaining('on that host: vmcache cache detach db/vda'),
            },
          },
        ],
      })
      writeFileSync(stampPath(image), 'nonsense')
      expect(await start(vm)).toMatchObject({ results: [{ ok: false }] })
      unlinkSync(stampPath(image))

      // Attached by itself, so that nobody puts the VM through its cache.
      await host.operations['cache.attach'](attachRequest(image, { name: 'alone', mode: 'write-back' }), context)
      expect(await disk('alone')).toMatchObject({ lacksWrites: true })
      expect(await start(vm)).toMatchObject({
        results: [{ error: { code: 'DIRTY_DATA', hint: expect.stringContaining('vmcache cache detach alone') } }],
      })
      expect(driver.log).not.toContain('start')
      await detach('alone')
      expect(await start(vm)).toMatchObject({ results: [{ ok: true }] })
      expect(driver.log).toContain('start')
    },
  )

  test('a disk that cannot be inserted does not keep its VM from starting, says why, and is tried again', async () => {
    libvirt.fail.set('blockdev-add', new VmcacheError('HYPERVISOR', 'QEMU refuses: later'))
    expect(await start('web01')).toMatchObject({ results: [{ ok: true }] })
    expect((await show()).disks[0]).toMatchObject({ path: 'direct', reason: 'QEMU refuses: later' })
    expect((await host.operations['status.show']({}, context)).attention).toContainEqual(
      expect.objectContaining({ object: 'disk web01/vda', state: 'direct', reason: 'QEMU refuses: later' }),
    )
    expect(await reconcile()).toBe(true)
    libvirt.fail.clear()
    expect(await reconcile()).toBe(false)
    expect(await paths()).toEqual(['vda cached', 'vdb direct'])
  })

  test('a VM that was stopped by an I/O error of its server gets a new connection and goes on', async () => {
    libvirt.startByHand('web01')
    await reconcile()
    web.state = 'io-error'
    await reconcile()
    expect(web.state).toBe('running')
    expect(web.nodes.get('vda-format')).toMatchObject({ file: 'vmcache-vda-2' })
    expect([...web.nodes.keys()]).not.toContain('vmcache-vda-1')
  })

  test('a VM that was stopped by an I/O error of its own storage is left alone', async () => {
    libvirt.startByHand('web01')
    await reconcile()
    await detach('web01/vda')
    web.state = 'io-error'
    await reconcile()
    expect(web.state).toBe('io-error')
  })

  test('a guest that is told of I/O errors gets no write-back: refused, and by the loop left direct with the reason', async () => {
    web.disks = web.disks.map((declared) => ({ ...declared, stopsOnError: declared.target !== 'vda' }))
    libvirt.startByHand('web01')
    expect(await attach({ targets: ['vda'], mode: 'write-back' })).toMatchObject({
      results: [{ error: { code: 'REFUSED' } }],
    })
    await reconcile()
    expect((await show()).disks[0]).toMatchObject({ path: 'direct', reason: expect.stringContaining('write-back') })
  })

  test('the engine that follows finds the VM as it is, and changes nothing', async () => {
    libvirt.startByHand('web01')
    await reconcile()
    const before = libvirt.log.length
    await host.start(await host.kill())
    expect((await disk('web01/vda')).mode).toMatchObject({ inForce: 'write-back' })
    await reconcile()
    expect(libvirt.log.length).toBe(before)
    expect(await paths()).toEqual(['vda cached', 'vdb direct'])
  })

  test('an event of a VM has only that VM looked at, by its name or UUID; one that nobody knows all of them', async () => {
    libvirt.add('web02', { vda: host.image('web02.img') })
    await adopt('web01', 'web02')
    await attach({ targets: ['vda'] })
    await attach({ vm: 'web02' })
    for (const name of ['web01', 'web02']) libvirt.startByHand(name)
    const isCached = (name: string) => libvirt.pathOf(name, 'vda').endsWith('.sock')
    await reconcile('web02')
    expect(['web01', 'web02'].map(isCached)).toEqual([false, true])
    await reconcile(web.uuid)
    expect(isCached('web01')).toBe(true)
    web.state = 'off'
    await reconcile('web01')
    libvirt.startByHand('web01')
    await reconcile('nobody')
    expect(isCached('web01')).toBe(true)
  })

  test('a hypervisor that does not answer leaves everything as it is, and says so', async () => {
    libvirt.startByHand('web01')
    await reconcile()
    libvirt.fail.set('query-status', new VmcacheError('HYPERVISOR', 'virsh does not end in time'))
    await reconcile()
    expect(await show()).toMatchObject({ state: 'unknown', reason: 'virsh does not end in time' })
    expect((await disk('web01/vda')).mode.inForce).toBe('write-back')
  })
})
