import { expect, test } from 'vitest'
import { qemuArguments } from '../../../src/hypervisor/qemu/qemu-arguments.js'
import { vmPaths } from '../../../src/hypervisor/qemu/vm-paths.js'
import { targetOf } from '../../../src/model/vm.js'

const definition = {
  memoryBytes: 4 * 2 ** 30,
  cpus: 2,
  accelerator: 'kvm' as const,
  disks: [
    { target: 'vda', path: '/images/a, b.img', format: 'raw' as const },
    { target: 'vdb', path: '/dev/vg0/b', format: 'qcow2' as const },
  ],
  kernel: null,
  initrd: null,
  append: null,
  qemuArguments: ['-nic', 'none'],
}

const options = {
  uuid: 'u1',
  name: 'web01',
  definition,
  paths: vmPaths('/run/a,b', 'u1'),
  blockDevices: new Set(['/dev/vg0/b']),
  awaitsMemory: false,
}

test('a disk is storage, a layer above it that can be given other storage, and a device that stops the VM on errors', () => {
  const args = qemuArguments(options)
  const blockdevs = args.flatMap((arg, index) =>
    args[index - 1] === '-blockdev' ? [JSON.parse(arg) as Record<string, unknown>] : [],
  )
  expect(blockdevs).toMatchObject([
    { driver: 'file', 'node-name': 'vda-storage', filename: '/images/a, b.img' },
    { driver: 'raw', 'node-name': 'vda-format', file: 'vda-storage' },
    { driver: 'host_device', 'node-name': 'vdb-storage', filename: '/dev/vg0/b' },
    { driver: 'qcow2', 'node-name': 'vdb-format', file: 'vdb-storage' },
  ])
  expect(args).toContain('virtio-blk-pci,drive=vda-format,id=vda,werror=stop,rerror=stop')
})

test('it starts stopped, in the background, with two monitors; a comma in a path is no end of it', () => {
  const args = qemuArguments(options)
  expect(args).toEqual(expect.arrayContaining(['-S', '-daemonize', '-m', 'size=4096M', '-smp', '2']))
  expect(args.filter((arg) => arg.startsWith('socket,'))).toEqual([
    'socket,id=vmcache-monitor,path=/run/a,,b/vms/u1/monitor,server=on,wait=off',
    'socket,id=vmcache-rescue,path=/run/a,,b/vms/u1/rescue,server=on,wait=off',
  ])
  expect(args.slice(-2)).toEqual(['-nic', 'none'])
  expect(args).not.toContain('-kernel')
})

test('one that awaits its memory does not begin before it has it', () => {
  expect(qemuArguments({ ...options, awaitsMemory: true }).slice(-4)).toEqual(['-nic', 'none', '-incoming', 'defer'])
})

test('targets are called as Linux does', () => {
  expect([0, 1, 25, 26, 27, 51, 52, 701, 702].map(targetOf)).toEqual([
    ...['vda', 'vdb', 'vdz', 'vdaa', 'vdab', 'vdaz', 'vdba', 'vdzz', 'vdaaa'],
  ])
})
