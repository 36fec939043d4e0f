import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { access, chmod, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { systemRandom } from '../../src/base/random.js'
import { groupId } from '../../src/daemon/groups.js'
import type { VmDriver, VmListener } from '../../src/hypervisor/driver.js'
import { insertDisk, removeDisk } from '../../src/hypervisor/exchange-disk.js'
import { createLibvirtDriver } from '../../src/hypervisor/libvirt/libvirt-driver.js'
import { savedImageStart, type SavedDomain } from '../../src/hypervisor/libvirt/saved-image.js'
import { observeVm } from '../../src/hypervisor/observe-vm.js'
import { whyNoPrivateMounts } from '../support/conditions.js'
import { guestKernel, whyNoGuest } from '../support/guest/kernel.js'
import { defineDomain, startLibvirt, type Libvirt } from '../support/libvirt.js'
import { describeWith, pathOf } from '../support/packages.js'
import { Processes, until } from '../support/processes.js'
import { vmDriverContract } from './vm-driver.js'

const DISKLESS = `<domain type='qemu'><name>web01</name><uuid>6f1c0a9e-2b7d-4c3f-8a5e-1d2c3b4a5968</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><cpu mode='host-model'/>
<devices><graphics type='vnc' port='-1' autoport='no' passwd='secret'><listen type='socket'/></graphics></devices></domain>`

describeWith(
  ['libvirtd', 'virsh', 'qemu-system-x86_64', 'qemu-img', 'busybox', 'nbdkit', 'unshare'],
  'the driver of libvirt',
  () => {
    vmDriverContract(async (directory, onChange) => {
      const libvirt = await startLibvirt(directory)
      const driver = driverIn(directory, { onChange })
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

    test('S6: a QEMU with a user of its own reaches the socket for its memory, and nobody else does', async (context) => {
      const group = groupId('libvirt-qemu')
      if (group === null) return context.skip('there is no group libvirt-qemu')
      const directory = await mkdtemp(join(tmpdir(), 'vmcache-vm-'))
      onTestFinished(() => rm(directory, { recursive: true, force: true }))
      // Whoever may use a socket of an engine reaches the directory that it is in.
      await chmod(directory, 0o711)
      const libvirt = await startLibvirt(directory, { user: 'libvirt-qemu' })
      onTestFinished(() => libvirt.stop())
      const driver = driverIn(directory, { qemuGroup: group })
      await writeFile(join(directory, 'web01.xml'), DISKLESS)
      await libvirt.virsh('define', join(directory, 'web01.xml'))
      const vm = { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
      const watch = { clock: systemClock, signal: new AbortController().signal, progress: () => {} }
      await driver.startPaused(vm)
      const definition = await driver.lastingDefinition(vm)
      const socket = join(await driver.memoryDirectory(vm), 'memory')
      let memory = Buffer.alloc(0)
      const sink = createServer((connection) => {
        connection.on('data', (bytes: Buffer) => (memory = Buffer.concat([memory, bytes])))
      }).listen(socket)
      onTestFinished(() => void sink.close())
      await driver.save(vm, socket, watch)
      expect(memory.subarray(0, 4).toString()).toBe('QEVM')
      expect(statSync(dirname(socket))).toMatchObject({ uid: 0, gid: group })
      expect(statSync(dirname(socket)).mode & 0o777).toBe(0o710)
      const mayConnect = (groups: string[]): boolean => {
        const script = `require('net').connect('${socket}').on('connect',()=>process.exit(0)).on('error',()=>process.exit(1))`
        const who = ['--reuid', 'nobody', '--regid', 'nogroup', ...groups, process.execPath, '-e', script]
        return spawnSync('setpriv', who, { stdio: 'ignore' }).status === 0
      }
      expect(mayConnect(['--clear-groups'])).toBe(false)
      expect(mayConnect([`--groups=${group}`])).toBe(true)
      await driver.destroy(vm)
      const own = join(directory, 'own')
      const source = createServer((connection) => connection.on('error', () => {}).end(memory)).listen(own)
      onTestFinished(() => void source.close())
      await driver.restore(vm, { socket: own, definition, prepare: async () => {} }, watch)
      expect(await libvirt.virsh('domstate', 'web01')).toBe('paused')
    }, 120_000)

    test('what is kept of a domain is what virsh save keeps of it', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'vmcache-vm-'))
      onTestFinished(() => rm(directory, { recursive: true, force: true }))
      const libvirt = await startLibvirt(directory)
      onTestFinished(() => libvirt.stop())
      const driver = driverIn(directory)
      const path = (name: string): string => join(directory, name)
      await writeFile(path('web01.xml'), DISKLESS)
      await libvirt.virsh('define', path('web01.xml'))
      const vm = { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
      await driver.startPaused(vm)
      const { xml, cookie } = JSON.parse((await driver.lastingDefinition(vm))!) as SavedDomain
      await libvirt.virsh('save', 'web01', path('saved'))
      const saved = await readFile(path('saved'))
      // The numbers of the header are those of the machine; the rest of what they count is padding.
      const cookieAt = 92 + saved.readUInt32LE(32)
      expect(saved.subarray(92, cookieAt).toString()).toBe(`${xml}\n\0`)
      expect(saved.subarray(cookieAt, cookieAt + cookie.length + 1).toString()).toBe(`${cookie}\0`)
      expect(xml).toContain("passwd='secret'")
      expect(xml + cookie).toContain("<cpu mode='custom'")
      const start = savedImageStart({ xml, cookie })
      for (const at of [16, 28]) expect(start.readUInt32LE(at)).toBe(saved.readUInt32LE(at))
    }, 120_000)

    test('a domain that would be gone, or is elsewhere, is not suspended', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'vmcache-vm-'))
      onTestFinished(() => rm(directory, { recursive: true, force: true }))
      const libvirt = await startLibvirt(directory)
      onTestFinished(() => libvirt.stop())
      const driver = driverIn(directory)
      await writeFile(join(directory, 'web01.xml'), DISKLESS)
      await libvirt.virsh('create', join(directory, 'web01.xml'), '--paused')
      const vm = { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
      const transient = { code: 'REFUSED', message: expect.stringContaining('transient') }
      await expect(driver.lastingDefinition(vm)).rejects.toMatchObject(transient)
      await libvirt.virsh('define', join(directory, 'web01.xml'))
      expect(await driver.lastingDefinition(vm)).toContain('<name>web01</name>')
      const elsewhere = { ...vm, connect: 'qemu+ssh://root@kvm02/system' }
      const remote = { code: 'REFUSED', message: expect.stringContaining('kvm02') }
      await expect(driver.lastingDefinition(elsewhere)).rejects.toMatchObject(remote)
    }, 120_000)

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

function driverIn(
  runDirectory: string,
  {
    qemuGroup = null,
    onChange = () => {},
  }: { readonly qemuGroup?: number | null; readonly onChange?: VmListener } = {},
): VmDriver {
  const driver = createLibvirtDriver({ runDirectory, qemuGroup, clock: systemClock, random: systemRandom, onChange })
  onTestFinished(() => driver.close())
  return driver
}

/** A domain that runs, and has no guest, with one disk, and what puts that behind an NBD server. */
async function domain() {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-domain-'))
  const processes = new Processes()
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const libvirt = await startLibvirt(directory)
  const driver = driverIn(directory)
  onTestFinished(async () => {
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
