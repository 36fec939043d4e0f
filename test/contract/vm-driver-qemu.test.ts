import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { systemRandom } from '../../src/base/random.js'
import type { DeclaredDisk, VmIdentity } from '../../src/hypervisor/driver.js'
import { createQemuDriver } from '../../src/hypervisor/qemu/qemu-driver.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { describeWith } from '../support/packages.js'
import { run } from '../support/processes.js'
import { vmDriverContract, type GuestVm, type GuestVmDisk } from './vm-driver.js'

const UUID = '6f1c0a9e-2b7d-4c3f-8a5e-1d2c3b4a5968'

const NEEDED = ['qemu-system-x86_64', 'qemu-img', 'busybox', 'nbdkit'] as const

function identity({ kernel, initrd, append, commands, disks }: GuestVm, ...further: string[]): VmIdentity {
  const port = ['-chardev', `socket,id=commands,path=${commands},server=on,wait=off`, '-device', 'virtio-serial-pci']
  return {
    uuid: UUID,
    name: 'web01',
    connect: null,
    definition: {
      ...{ memoryBytes: 256 * 2 ** 20, cpus: 1, accelerator: 'tcg', kernel, initrd, append, disks },
      qemuArguments: [...port, '-device', 'virtserialport,chardev=commands,name=commands,nr=1', ...further],
    },
  }
}

describeWith(
  NEEDED,
  'the driver of QEMU',
  () => {
    vmDriverContract(async (directory, onChange) => ({
      driver: createQemuDriver({ runDirectory: directory, clock: systemClock, random: systemRandom, onChange }),
      connect: null,
      define: async (vm) => identity(vm),
      stop: async () => {},
    }))

    test('words of a QEMU that does not start are passed on', async () => {
      const runDirectory = mkdtempSync(join(tmpdir(), 'vmcache-vm-'))
      onTestFinished(() => rmSync(runDirectory, { recursive: true, force: true }))
      const driver = createQemuDriver({ runDirectory, clock: systemClock, random: systemRandom, onChange: () => {} })
      const definition = {
        ...{ memoryBytes: 2 ** 26, cpus: 1, accelerator: 'tcg' as const, disks: [], qemuArguments: ['--frobnicate'] },
        ...{ kernel: null, initrd: null, append: null },
      }
      const vm = { uuid: UUID, name: 'web01', connect: null, definition }
      await expect(driver.startPaused(vm)).rejects.toMatchObject({
        code: 'HYPERVISOR',
        message: 'VM web01 cannot be started: --frobnicate: invalid option',
      })
    })
  },
  await whyNoGuest(),
)

const qemuMajor = Number(/version (\d+)/.exec((await run('qemu-system-x86_64', ['--version'])).stdout)?.[1] ?? 0)

/** As libvirt starts raw images from version 10 on. */
function withoutLayer({ target, path }: GuestVmDisk): string[] {
  const storage = { driver: 'file', 'node-name': `${target}-storage`, filename: path, cache: { direct: true } }
  const device = `virtio-blk-pci,drive=${target}-storage,id=${target},werror=stop,rerror=stop,iothread=thread-${target}`
  return [
    ...['-object', `iothread,id=thread-${target}`],
    ...['-blockdev', JSON.stringify({ ...storage, discard: 'unmap' }), '-device', device],
  ]
}

describeWith(
  NEEDED,
  'disks without a raw layer, with I/O threads',
  () => {
    vmDriverContract(async (directory, onChange) => {
      const driver = createQemuDriver({ runDirectory: directory, clock: systemClock, random: systemRandom, onChange })
      const plain: DeclaredDisk[] = []
      return {
        driver: {
          ...driver,
          async declared(vm) {
            const declared = await driver.declared(vm)
            return { ...declared, disks: [...plain, ...declared.disks] }
          },
        },
        connect: null,
        async define(vm) {
          const raw = vm.disks.filter(({ format }) => format === 'raw')
          const known = { stopsOnError: true, discard: true, io: null, whyDirect: null }
          plain.push(...raw.map(({ target, path }) => ({ target, device: target, path, ...known })))
          const others = vm.disks.filter(({ format }) => format !== 'raw')
          return identity({ ...vm, disks: others }, ...raw.flatMap(withoutLayer))
        },
        standsStill: qemuMajor < 10,
        stop: async () => {},
      }
    })
  },
  await whyNoGuest(),
)
