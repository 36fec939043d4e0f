import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { createQemuDriver } from '../../src/hypervisor/qemu/qemu-driver.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { describeWith } from '../support/packages.js'
import { vmDriverContract } from './vm-driver.js'

const UUID = '6f1c0a9e-2b7d-4c3f-8a5e-1d2c3b4a5968'

describeWith(
  ['qemu-system-x86_64', 'qemu-img', 'busybox', 'nbdkit'],
  'the driver of QEMU',
  () => {
    vmDriverContract(async (directory, onChange) => ({
      driver: createQemuDriver({ runDirectory: directory, clock: systemClock, onChange }),
      connect: null,
      define: async ({ kernel, initrd, append, commands, disks }) => ({
        uuid: UUID,
        name: 'web01',
        connect: null,
        definition: {
          memoryBytes: 256 * 2 ** 20,
          cpus: 1,
          accelerator: 'tcg',
          kernel,
          initrd,
          append,
          disks,
          qemuArguments: [
            ...['-chardev', `socket,id=commands,path=${commands},server=on,wait=off`, '-device', 'virtio-serial-pci'],
            ...['-device', 'virtserialport,chardev=commands,name=commands,nr=1'],
          ],
        },
      }),
      stop: async () => {},
    }))

    test('words of a QEMU that does not start are passed on', async () => {
      const runDirectory = mkdtempSync(join(tmpdir(), 'vmcache-vm-'))
      onTestFinished(() => rmSync(runDirectory, { recursive: true, force: true }))
      const driver = createQemuDriver({ runDirectory, clock: systemClock, onChange: () => {} })
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
