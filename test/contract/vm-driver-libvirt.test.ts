import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { groupId } from '../../src/daemon/groups.js'
import { createLibvirtDriver } from '../../src/hypervisor/libvirt/libvirt-driver.js'
import { savedImageStart, type SavedDomain } from '../../src/hypervisor/libvirt/saved-image.js'
import { whyNoPrivateMounts } from '../support/conditions.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { defineDomain, startLibvirt, whyNoRawLayer } from '../support/libvirt.js'
import { describeWith } from '../support/packages.js'
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
      const driver = createLibvirtDriver({ runDirectory: directory, qemuGroup: null, clock: systemClock, onChange })
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
      const libvirt = await startLibvirt(directory, 'libvirt-qemu')
      onTestFinished(() => libvirt.stop())
      const driver = createLibvirtDriver({
        ...{ runDirectory: directory, qemuGroup: group, clock: systemClock, onChange: () => {} },
      })
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
      const driver = createLibvirtDriver({
        ...{ runDirectory: directory, qemuGroup: null, clock: systemClock, onChange: () => {} },
      })
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
      const driver = createLibvirtDriver({
        ...{ runDirectory: directory, qemuGroup: null, clock: systemClock, onChange: () => {} },
      })
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
  },
  whyNoPrivateMounts() ?? whyNoRawLayer() ?? (await whyNoGuest()),
)
