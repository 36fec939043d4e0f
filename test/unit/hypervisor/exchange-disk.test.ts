/** What a real QEMU of this machine may be too old to show; the rest is in the contract of drivers, with real guests. */
import { expect, it } from 'vitest'
import type { BlockNode } from '../../../src/hypervisor/block-graph.js'
import type { VmMonitor } from '../../../src/hypervisor/driver.js'
import { removeDisk } from '../../../src/hypervisor/exchange-disk.js'
import type { ObservedDisk } from '../../../src/hypervisor/observe-vm.js'

function nodeOf(name: string, driver: string, isActive = true): BlockNode {
  return {
    name,
    driver,
    fileName: `/images/${name}`,
    sizeBytes: 2 ** 20,
    isReadOnly: false,
    cache: { direct: true, 'no-flush': false },
    detectZeroes: 'off',
    isActive,
  }
}

/** The commands with which a disk goes back to its storage. */
async function commandsOfRemoval(storageIsActive: boolean): Promise<string[]> {
  const commands: string[] = []
  const monitor: VmMonitor = {
    execute: (command, args) => {
      commands.push(command === 'blockdev-set-active' ? `${command} ${JSON.stringify(args)}` : command)
      return Promise.resolve({})
    },
    yank: null,
  }
  const disk: ObservedDisk = {
    target: 'vda',
    device: 'vda',
    sizeBytes: 2 ** 20,
    stopsOnError: true,
    path: { kind: 'cached', node: 'vmcache-vda-1', socket: '/run/vda.sock' },
    layers: {
      format: nodeOf('vda-format', 'raw'),
      storage: nodeOf('vda-storage', 'file', storageIsActive),
      name: 'vda-format',
      discard: true,
      io: null,
    },
    leftovers: [],
    whyDirect: null,
  }
  await removeDisk(monitor, disk)
  return commands
}

it('makes a storage active that QEMU left inactive when it loaded the memory of the VM, before the disk goes back to it', async () => {
  expect(await commandsOfRemoval(true)).toEqual(['blockdev-reopen', 'blockdev-del'])
  expect(await commandsOfRemoval(false)).toEqual([
    'blockdev-set-active {"node-name":"vda-storage","active":true}',
    'blockdev-reopen',
    'blockdev-del',
  ])
})
