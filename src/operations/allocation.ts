import type { Allocation } from '../protocol/control/documents.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'
import { disksOf, type Inventory } from './inventory.js'
import type { VmDisk } from './known-vm.js'
import { canPromise, checkPromisedSpace } from './promised-space.js'

type Share = Pick<DiskRecord, 'minBytes' | 'shares'>

/** What a disk may claim of its cache now. */
export function shareOf({ allocations }: Inventory, { name, minBytes, shares }: Share & { name: string }): Share {
  switch (allocations.get(name) ?? 'full') {
    case 'full':
      return { minBytes, shares }
    case 'best-effort':
      return { minBytes: 0, shares }
    case 'resting':
      return { minBytes: 0, shares: 0 }
  }
}

/** What the disks of a cache may claim, but for one of them. */
export function sharesBeside(inventory: Inventory, cache: string, name?: string): Share[] {
  return disksOf(inventory, cache).flatMap((disk) => (disk.name === name ? [] : [shareOf(inventory, disk)]))
}

/**
 * Disks have their share, as their VM is being started. Where there is no room for what one of them is promised: NO_SPACE, and all is as before; with
 * `isBestEffort` it has its share without its min.
 */
export async function takeShares(
  plane: ControlPlane,
  disks: readonly VmDisk[],
  { isBestEffort }: { readonly isBestEffort: boolean },
): Promise<void> {
  const { inventory } = plane
  const { allocations } = inventory
  const before = new Map(disks.map(({ name }) => [name, allocationOf(inventory, name)]))
  const lacking = disks.filter(({ name }) => before.get(name) !== 'full')
  try {
    // Of two VMs that are started at once each sees what the other was promised.
    for (const disk of lacking) allocations.set(disk.name, allocate(plane, disk, isBestEffort))
  } catch (error) {
    for (const { name } of lacking) allocations.set(name, before.get(name)!)
    throw error
  }
  for (const disk of lacking) if (allocations.get(disk.name) !== before.get(disk.name)) await apply(plane, disk)
}

function allocate({ engine, inventory }: ControlPlane, disk: VmDisk, isBestEffort: boolean): Allocation {
  const { name, cache, minBytes } = disk
  const open = engine.caches().find((each) => each.name === cache)
  if (open === undefined) return 'full'
  const others = sharesBeside(inventory, cache, name)
  if (isBestEffort && !canPromise(open, others, minBytes)) return 'best-effort'
  checkPromisedSpace(open, others, disk)
  return 'full'
}

/** A disk whose VM is off has no share: what it has it keeps until somebody wants it. */
export async function rest(plane: ControlPlane, disk: VmDisk): Promise<void> {
  const { allocations } = plane.inventory
  if (allocations.get(disk.name) === 'resting') return
  allocations.set(disk.name, 'resting')
  await apply(plane, disk)
}

export function allocationOf({ allocations }: Inventory, name: string): Allocation {
  return allocations.get(name) ?? 'full'
}

/** One that is not served yet is served with it. */
async function apply({ engine, inventory }: ControlPlane, disk: DiskRecord): Promise<void> {
  const isServed = (await engine.disks()).some((served) => served.disk === disk.name)
  if (isServed) await engine.change(disk.name, shareOf(inventory, disk))
}
