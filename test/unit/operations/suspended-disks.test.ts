import { expect, test } from 'vitest'
import { DEFAULT_VM_POLICY } from '../../../src/model/vm-policy.js'
import type { ControlPlane } from '../../../src/operations/control-plane.js'
import { createInventory } from '../../../src/operations/inventory.js'
import type { ObservedOrigin } from '../../../src/operations/observe-origin.js'
import { observeDisksOf, refuseChangedDisks } from '../../../src/operations/suspended-disks.js'
import type { DiskRecord } from '../../../src/state/disk-store.js'
import type { SuspendedDisk } from '../../../src/state/checkpoint-store.js'
import type { VmRecord } from '../../../src/state/vm-store.js'
import { createFakeVmDriver } from '../../support/fake-vm-driver.js'

const file: ObservedOrigin = {
  ...{ kind: 'file', uri: '/images/a.img', path: '/images/a.img', identity: 'file 1 2', sizeBytes: 4096 },
  ...{ inode: '2', modifiedAt: '1795168800123456789' },
}
const block: ObservedOrigin = {
  ...{ kind: 'block', uri: '/dev/disk/by-id/a', path: '/dev/vg0/a', identity: 'block 3', sizeBytes: 4096 },
  ...{ inode: null, modifiedAt: null },
}
const vm: VmRecord = {
  ...{ host: 'h', uuid: 'u', name: 'web01', driver: 'qemu', connect: null, definition: null, createdAt: '' },
  policy: DEFAULT_VM_POLICY,
}

function plane(seen: ObservedOrigin, exclusive: boolean | null): ControlPlane {
  const inventory = createInventory()
  const qemu = createFakeVmDriver('qemu', () => 4096)
  qemu.add('web01', { vda: seen.path }, 'u')
  if (exclusive !== null) {
    const disk: Partial<DiskRecord> = { name: 'web01/vda', exclusive, vm: { uuid: 'u', target: 'vda' } }
    inventory.disks.set('web01/vda', disk as DiskRecord)
  }
  const known: Partial<ControlPlane> = { inventory, drivers: { qemu, libvirt: qemu }, observe: async () => seen }
  return known as ControlPlane
}

test.each<[string, ObservedOrigin, boolean | null, boolean]>([
  ['a file', file, null, true],
  ['a file that is attached', file, false, true],
  ['a block device', block, null, false],
  ['a block device that is attached', block, false, false],
  ['a block device that nobody else is said to write', block, true, true],
])('S7: %s', async (_, seen, exclusive, isSeen) => {
  const observed = observeDisksOf(plane(seen, exclusive), vm)
  if (!isSeen)
    return expect(observed).rejects.toMatchObject({ code: 'REFUSED', hint: expect.stringContaining('--exclusive') })
  const { kind, path, sizeBytes, inode, modifiedAt } = seen
  expect(await observed).toEqual([{ target: 'vda', kind, path, sizeBytes, inode, modifiedAt }])
})

test.each<[string, Partial<ObservedOrigin>, boolean]>([
  ['as it was', {}, true],
  ['written', { modifiedAt: '1795168800123456790' }, false],
  ['replaced by what is older', { modifiedAt: '1795168800000000000' }, false],
  ['another file', { inode: '3' }, false],
  ['larger', { sizeBytes: 8192 }, false],
  ['a block device', { kind: 'block', modifiedAt: null, inode: null }, false],
])('S7: a disk that is %s', async (_, changes, isSame) => {
  const { kind, path, sizeBytes, inode, modifiedAt } = file
  const then: SuspendedDisk = { target: 'vda', kind, path, sizeBytes, inode, modifiedAt }
  const compared = refuseChangedDisks(plane({ ...file, ...changes }, null), vm, [then])
  if (isSame) return expect(compared).resolves.toBeUndefined()
  await expect(compared).rejects.toMatchObject({ code: 'ORIGIN_CHANGED', exit: 7 })
})
