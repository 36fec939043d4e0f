import { VmcacheError } from '../base/errors.js'
import { blockGraph } from '../hypervisor/block-graph.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import type { SuspendedDisk } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { disksOfVm, driverOf } from './known-vm.js'

/** REFUSED where a VM writes something that its definition does not know: nobody would see whether it was written meanwhile. */
export async function refuseUnknownDisks(plane: ControlPlane, vm: VmRecord, monitor: VmMonitor): Promise<void> {
  const { disks } = await driverOf(plane, vm).declared(vm)
  const { devices } = await blockGraph(monitor)
  const known = new Set(disks.map(({ device }) => device))
  const unknown = devices.find(({ id, node }) => !known.has(id) && node !== null && !node.isReadOnly)
  if (unknown === undefined) return
  throw new VmcacheError(
    'REFUSED',
    `VM ${vm.name} cannot be suspended: it writes ${unknown.node!.fileName || unknown.id}, which is none of the disks of its definition`,
    { hint: 'define it with that as one of its --disk, not as an argument of QEMU' },
  )
}

/**
 * The storage of every disk of a VM as it is seen now, to find out later whether somebody has written it. REFUSED where that could not be
 * seen: what would be resumed then might have been written under its guest.
 */
export async function observeDisksOf(plane: ControlPlane, vm: VmRecord): Promise<SuspendedDisk[]> {
  const { disks } = await driverOf(plane, vm).declared(vm)
  const attached = new Map(disksOfVm(plane.inventory, vm).map((disk) => [disk.vm.target, disk]))
  return Promise.all(
    disks.map(async ({ target, path: declared }): Promise<SuspendedDisk> => {
      if (declared === null) throw unseen(vm, target, 'its storage is neither a file nor a block device')
      const { kind, path, sizeBytes, inode, modifiedAt } = await plane.observe(declared)
      if (modifiedAt === null && attached.get(target)?.exclusive !== true) {
        throw unseen(vm, target, `${path} does not show whether somebody else has written it meanwhile`)
      }
      return { target, path, kind, sizeBytes, inode, modifiedAt }
    }),
  )
}

function unseen({ name }: VmRecord, target: string, why: string): VmcacheError {
  return new VmcacheError('REFUSED', `VM ${name} cannot be suspended: disk ${target}: ${why}`, {
    hint: `where nobody else writes it, attach it with --exclusive: vmcache cache attach CACHE --vm ${name} --target ${target} --exclusive`,
  })
}

/** Throws ORIGIN_CHANGED where a disk is not what it was when its VM was suspended. */
export async function refuseChangedDisks(
  { observe }: ControlPlane,
  { name }: VmRecord,
  disks: readonly SuspendedDisk[],
): Promise<void> {
  for (const disk of disks) {
    const now = await observe(disk.path)
    const why = whyChanged(disk, now)
    if (why === null) continue
    throw new VmcacheError(
      'ORIGIN_CHANGED',
      `VM ${name} cannot be resumed: ${disk.path} (${disk.target}) is not the disk that its memory belongs to: ${why}`,
      {
        hint: `bring the disk back as it was; or start the VM without its memory: vmcache checkpoint delete ${name} --discard-memory, then vmcache vm start ${name}`,
        details: { disk: disk.target, seen: now.modifiedAt, expected: disk.modifiedAt },
      },
    )
  }
}

type Seen = Pick<SuspendedDisk, 'kind' | 'sizeBytes' | 'inode' | 'modifiedAt'>

function whyChanged(then: Seen, now: Seen): string | null {
  if (now.kind !== then.kind) return `it was of kind ${then.kind}, it is ${now.kind}`
  if (now.sizeBytes !== then.sizeBytes) return `it had ${then.sizeBytes} bytes, it has ${now.sizeBytes}`
  if (now.inode !== then.inode) return 'it is another file'
  return now.modifiedAt === then.modifiedAt ? null : 'it was written since'
}
