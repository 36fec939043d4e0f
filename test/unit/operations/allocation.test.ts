/** What VMs have of a cache: a VM takes its share when it is started, and gives it back when it is off. */
import { beforeEach, describe, expect, test } from 'vitest'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import { VmcacheError } from '../../../src/base/errors.js'
import type { FakeVm, FakeVmDriver } from '../../support/fake-vm-driver.js'
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

let host: TestHost
let libvirt: FakeVmDriver
let vms: FakeVm[]

/** A cache of less than 4 GiB, and two VMs each of which is promised 2.5 GiB of it. */
beforeEach(async () => {
  host = await testHost()
  libvirt = host.drivers.libvirt
  host.storage.devices.set('/cache/a', { sizeBytes: 4 * GIB, content: 'empty', gone: false })
  await host.operations['cache.create'](createRequest(), context)
  vms = ['one', 'two'].map((name) => libvirt.add(name, { vda: host.image(`${name}.img`) }))
  const domains = ['one', 'two']
  await host.operations['vm.adopt']({ domains, connect: null, dryRun: false }, context)
})

const attach = (vm: string, minBytes = 2.5 * GIB) =>
  host.operations['vm.attach'](
    {
      ...{ cache: 'fast', vm, targets: [], mode: 'write-through', replacement: 's3-fifo', minBytes, maxBytes: null },
      ...{ shares: 200, writeBack: DEFAULT_WRITE_BACK, exclusive: false, dryRun: false },
    },
    context,
  )
const attachBoth = async () => {
  for (const vm of ['one', 'two']) expect(await attach(vm)).toMatchObject({ changed: true })
}
const start = async (name: string, bestEffort = false) => {
  const { results } = await host.operations['vm.start']({ ...targets([name]), bestEffort }, context)
  return results[0]
}
const stop = (name: string) => host.operations['vm.stop']({ ...targets([name]), force: true }, context)
const shown = async (name: string) => host.operations['disk.show']({ name: `${name}/vda` }, context)
const allocation = async (name: string) => (await shown(name)).allocation
/** What the engine was told last. */
const inForce = async (name: string) => {
  const { minBytes, shares } = (await host.engine.disks()).find(({ disk }) => disk === `${name}/vda`)!
  return { minBytes, shares }
}

const FULL = { minBytes: 2.5 * GIB, shares: 200 }
const NOTHING = { minBytes: 0, shares: 0 }

describe('the share of a VM', () => {
  test('is taken when it is started, and given back when it is off; what is wanted stays', async () => {
    await attachBoth()
    expect(await shown('one')).toMatchObject({ ...FULL, allocation: 'resting' })
    expect(await inForce('one')).toEqual(NOTHING)
    expect(await start('one')).toMatchObject({ ok: true })
    expect(await shown('one')).toMatchObject({ ...FULL, allocation: 'full' })
    expect(await inForce('one')).toEqual(FULL)
    await stop('one')
    await host.handle.reconcileVms(null)
    expect(await shown('one')).toMatchObject({ ...FULL, allocation: 'resting' })
    expect(await inForce('one')).toEqual(NOTHING)
  })

  test('is there before the guest runs, or the VM is not started: exit 5, and nothing has changed', async () => {
    await attachBoth()
    expect(await start('one')).toMatchObject({ ok: true })
    expect(await start('two')).toMatchObject({
      ok: false,
      error: { code: 'NO_SPACE', exit: 5, message: expect.stringContaining('two/vda') },
    })
    expect(vms[1]!.state).toBe('off')
    expect(await allocation('two')).toBe('resting')
    await stop('one')
    expect(await start('two')).toMatchObject({ ok: true })
    expect(await inForce('two')).toEqual(FULL)
  })

  test('is without its min where that was asked for, until there is room for it', async () => {
    await attachBoth()
    await start('one')
    expect(await start('two', true)).toMatchObject({ ok: true })
    expect(await shown('two')).toMatchObject({ ...FULL, allocation: 'best-effort' })
    expect(await inForce('two')).toEqual({ minBytes: 0, shares: 200 })
    await stop('one')
    await host.handle.reconcileVms(null)
    await host.handle.reconcileVms(null)
    expect(await allocation('two')).toBe('full')
    expect(await inForce('two')).toEqual(FULL)
  })

  test('nobody who starts a VM by other means is refused: it has what there is', async () => {
    await attachBoth()
    for (const { name } of vms) libvirt.startByHand(name)
    await host.handle.reconcileVms(null)
    const both = [await allocation('one'), await allocation('two')]
    expect(both.sort()).toEqual(['best-effort', 'full'])
  })

  test('of a VM that cannot be started is given back', async () => {
    await attachBoth()
    libvirt.fail.set('start', new VmcacheError('HYPERVISOR', 'no'))
    expect(await start('one')).toMatchObject({ ok: false })
    libvirt.fail.clear()
    expect(vms[0]!.state).toBe('off')
    expect(await allocation('one')).toBe('resting')
    expect(await start('two')).toMatchObject({ ok: true })
  })

  test('is known again when the engine was killed', async () => {
    await attachBoth()
    await start('one')
    await host.start(await host.kill())
    await host.handle.reconcileVms(null)
    expect(await inForce('one')).toEqual(FULL)
    expect(await inForce('two')).toEqual(NOTHING)
    expect(await start('two')).toMatchObject({ ok: false, error: { code: 'NO_SPACE' } })
  })
})

describe('what is promised', () => {
  test('must be possible at all, also to a VM that is off', async () => {
    expect(await attach('one', 5 * GIB)).toMatchObject({ results: [{ error: { code: 'NO_SPACE', exit: 5 } }] })
  })

  test('to a VM that runs is there, or its disk is not attached', async () => {
    await attach('one')
    await start('one')
    libvirt.startByHand('two')
    expect(await attach('two')).toMatchObject({ results: [{ error: { code: 'NO_SPACE', exit: 5 } }] })
    expect(await attach('two', 100 * MIB)).toMatchObject({ changed: true })
    expect(await allocation('two')).toBe('full')
  })

  test('can be changed while the VM is off, and counts from its start on', async () => {
    await attachBoth()
    await start('one')
    await host.operations['disk.set']({ name: 'two/vda', minBytes: 3 * GIB, dryRun: false }, context)
    expect(await inForce('two')).toEqual(NOTHING)
    await host.operations['disk.set']({ name: 'two/vda', minBytes: 100 * MIB, dryRun: false }, context)
    expect(await start('two')).toMatchObject({ ok: true })
    expect(await inForce('two')).toEqual({ minBytes: 100 * MIB, shares: 200 })
    await expect(
      host.operations['disk.set']({ name: 'two/vda', minBytes: 2 * GIB, dryRun: false }, context),
    ).rejects.toMatchObject({ code: 'NO_SPACE' })
  })

  test('a disk that belongs to no VM always has its share', async () => {
    await attachBoth()
    await start('one')
    await host.operations['cache.detach'](detachRequest(['two/vda']), context)
    const origin = host.image('own.img')
    await host.operations['cache.attach']({ ...attachRequest(origin), name: 'own' }, context)
    expect((await host.operations['disk.list']({}, context)).disks).toMatchObject([
      { disk: 'one/vda' },
      { disk: 'own', allocation: 'full' },
    ])
  })
})
