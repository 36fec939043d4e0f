import { VmcacheError } from '../base/errors.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'
import { lacksWrites } from './origin-guard.js'
import { realPath } from './real-path.js'

/**
 * Throws DIRTY_DATA where the storage of a VM that is to be started lacks writes that some cache holds, of this host or of another: a guest that
 * ran on it would destroy it. QEMU itself would meet at most the image lock, and that names no remedy. The libvirt hook refuses the same.
 */
export async function refuseIncompleteDisks(plane: ControlPlane, vm: VmRecord): Promise<void> {
  const { host, inventory, stamps } = plane
  const { disks } = await driverOf(plane, vm).declared(vm)
  for (const { path: declared } of disks) {
    if (declared === null) continue
    const path = await realPath(declared)
    const stamp = await stamps.read(path)
    if (stamp !== null && stamp.lacksWrites && stamp.hostId !== host.id) {
      throw incomplete(vm, path, stamp.disk, `host ${stamp.hostName}`, [
        `on that host: vmcache cache detach ${stamp.disk}`,
        'where no engine can run there: vmcache cache recover --device PATH...',
        `where that host and its cache are gone for good, this gives up what the image lacks: vmcache lease take ${path} --fenced --discard-dirty`,
      ])
    }
    const own = [...inventory.disks.values()].find((disk) => disk.origin === path)
    const disk = own?.name ?? stamp?.disk
    if (disk === undefined || !(stamp?.lacksWrites === true || lacksWrites(plane, disk))) continue
    throw incomplete(vm, path, disk, 'this host', [
      `see what keeps it there: vmcache disk show ${disk}`,
      `complete the image: vmcache cache detach ${disk}`,
      `where no engine can open its cache: vmcache cache recover ${own?.cache ?? '--device PATH...'}`,
    ])
  }
}

function incomplete(
  { name }: VmRecord,
  path: string,
  disk: string,
  holder: string,
  remedies: readonly string[],
): VmcacheError {
  return new VmcacheError(
    'DIRTY_DATA',
    `VM ${name} must not be started: ${path} may lack writes, which the cache of ${holder} holds for disk ${disk}`,
    { hint: remedies.join('; '), details: { disk, path } },
  )
}
