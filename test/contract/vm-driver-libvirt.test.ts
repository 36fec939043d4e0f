import { access, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { systemRandom } from '../../src/base/random.js'
import { insertDisk, removeDisk } from '../../src/hypervisor/exchange-disk.js'
import { createLibvirtDriver } from '../../src/hypervisor/libvirt/libvirt-driver.js'
import { observeVm } from '../../src/hypervisor/observe-vm.js'
import { whyNoPrivateMounts } from '../support/conditions.js'
import { guestKernel, whyNoGuest } from '../support/guest/kernel.js'
import { defineDomain, startLibvirt, type Libvirt } from '../support/libvirt.js'
import { describeWith, pathOf } from '../support/packages.js'
import { Processes, until } from '../support/processes.js'
import { vmDriverContract } from './vm-driver.js'

describeWith(
  ['libvirtd', 'virsh', 'qemu-system-x86_64', 'qemu-img', 'busybox', 'nbdkit', 'unshare'],
  'the driver of libvirt',
  () => {
    vmDriverContract(async (directory, onChange) => {
      const libvirt = await startLibvirt(directory)
      const driver = createLibvirtDriver({ clock: systemClock, random: systemRandom, onChange })
      return {
        driver,
        connect: libvirt.uri,
        async define(vm) {
          await defineDomain(libvirt, directory, 'web01', vm)
          return { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
        },
        stop: () => libvirt.stop(),
      }
    })

    test('a domain whose disk was inserted is what it was to libvirt', { timeout: 120_000 }, async () => {
      const { driver, libvirt, vm, image, insert } = await domain()
      const disk = async () => (await observeVm(driver, vm)).disks[0]!
      const before = await nodesOf(libvirt)
      await insert()
      expect((await disk()).path.kind).toBe('cached')
      expect(await libvirt.virsh('domblklist', 'web01')).toContain(image)
      expect(await libvirt.virsh('domblkinfo', 'web01', 'vda')).toMatch(/Capacity: +16777216/)
      expect(await libvirt.virsh('domblkstat', 'web01', 'vda')).toContain('rd_req')
      // What libvirt knows it by, the device still uses, and not only a node that has the name.
      const overlay = `${image}.overlay`
      await libvirt.virsh(
        'snapshot-create-as',
        'web01',
        '--no-metadata',
        '--disk-only',
        '--diskspec',
        `vda,file=${overlay}`,
      )
      expect(await disk()).toMatchObject({ path: { kind: 'cached' }, whyDirect: 'qcow2 with a backing chain' })
      await libvirt.virsh('blockcommit', 'web01', 'vda', '--active', '--pivot', '--wait')
      expect(await disk()).toMatchObject({ path: { kind: 'cached' }, whyDirect: null })
      await removeDisk((await driver.monitor(vm))!, await disk())
      expect((await disk()).path.kind).toBe('direct')
      expect(await nodesOf(libvirt)).toEqual(before)

      await insert()
      await libvirt.virsh('managedsave', 'web01')
      await libvirt.virsh('start', 'web01')
      expect(await libvirt.virsh('domstate', 'web01')).toBe('running')
      expect((await disk()).path.kind).toBe('direct')
      await insert()
      expect((await disk()).path.kind).toBe('cached')
      await libvirt.virsh('destroy', 'web01')
      expect(await libvirt.virsh('domstate', 'web01')).toBe('shut off')
    })
  },
  whyNoPrivateMounts() ?? (await whyNoGuest()),
)

/** A domain that runs, and has no guest, with one disk, and what puts that behind an NBD server. */
async function domain() {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-domain-'))
  const processes = new Processes()
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const libvirt = await startLibvirt(directory)
  const driver = createLibvirtDriver({ clock: systemClock, random: systemRandom, onChange: () => {} })
  onTestFinished(async () => {
    await driver.close()
    await libvirt.stop()
    await processes.stopAll()
  })
  const image = join(directory, 'a')
  await writeFile(image, '')
  await truncate(image, 16 * 2 ** 20)
  const { image: kernel } = await guestKernel()
  await writeFile(join(directory, 'initramfs'), '')
  const files = { kernel, initrd: join(directory, 'initramfs'), commands: join(directory, 'commands') }
  const disks = [{ target: 'vda', path: image, format: 'raw' }]
  await defineDomain(libvirt, directory, 'web01', { ...files, append: 'quiet panic=0', disks })
  await libvirt.virsh('start', 'web01')
  const vm = { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
  const socket = join(directory, 'nbd')
  processes.start(pathOf('nbdkit'), ['-f', '-U', socket, 'file', image])
  await until('nbdkit', () => access(socket).then(Boolean.bind(null, true), () => false))
  const insert = async (): Promise<void> => {
    const [disk] = (await observeVm(driver, vm)).disks
    await insertDisk((await driver.monitor(vm))!, disk!, { socket, sizeBytes: 16 * 2 ** 20 })
  }
  return { driver, libvirt, vm, image, insert }
}

/** The node that each device uses, by the name under which libvirt knows it. */
async function nodesOf(libvirt: Libvirt): Promise<string[]> {
  const answer = await libvirt.virsh('qemu-monitor-command', 'web01', '{"execute":"query-block"}')
  const devices = (JSON.parse(answer) as { return: { inserted?: { 'node-name': string } }[] }).return
  return devices.map(({ inserted }) => inserted?.['node-name'] ?? '')
}
