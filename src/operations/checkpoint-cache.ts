import { VmcacheError } from '../base/errors.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { disksOfVm } from './known-vm.js'

/**
 * The cache that is to have the memory of a VM: the one that is promised to it, else one that has its disks, else the one with most room.
 * NO_SPACE where none is open.
 */
export function cacheFor({ engine, inventory }: ControlPlane, vm: VmRecord): string {
  const own = new Set(disksOfVm(inventory, vm).map(({ cache }) => cache))
  const promised = inventory.reservations.get(vm.uuid)?.cache
  const rank = (name: string): number => (name === promised ? 2 : Number(own.has(name)))
  const [best] = engine
    .caches()
    .filter(({ state }) => state === 'open')
    .sort((a, b) => rank(b.name) - rank(a.name) || b.chunks.free - a.chunks.free)
  if (best !== undefined) return best.name
  throw new VmcacheError('NO_SPACE', `no cache is open that could have the memory of VM ${vm.name}`, {
    hint: 'see: vmcache cache list',
  })
}
