import { observeVm } from '../hypervisor/observe-vm.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { rest, takeShares } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { refuseSuspended } from './known-checkpoint.js'
import { disksOfVm, driverOf, namedVms, overVms } from './known-vm.js'
import type { OperationContext, Operations } from './operation.js'
import { reconcileDisks } from './reconcile-vms.js'
import { refuseIncompleteDisks } from './refuse-incomplete.js'
import { releaseFor, reserveFor } from './reservation.js'
import { settleDisk } from './vm-disks.js'

/** Starts VMs through the cache: their attached disks are inserted before the guest's first instruction. */
export function vmStart(plane: ControlPlane): Operations['vm.start'] {
  const { inventory } = plane
  return (request, context) => {
    const named = namedVms(plane, request)
    return overVms(plane, request, context, async (vm, inner) => {
      if ((await driverOf(plane, vm).monitor(vm)) !== null) return { changed: false, steps: [] }
      // A filter means those that are off, not those that wait for being resumed.
      if (!named.has(vm.name) && inventory.checkpoints.has(vm.uuid)) return { changed: false, steps: [] }
      refuseSuspended(plane, vm)
      if (!request.dryRun) await exclusively(inventory, `vm ${vm.name}`, () => start(plane, vm, request, inner))
      return { changed: true, steps: stepsOf(plane, vm) }
    })
  }
}

/**
 * A disk that cannot be served does not keep its VM from starting, as long as its origin has everything: it runs direct, and is attached as
 * soon as it can be. One whose storage lacks writes does.
 */
async function start(
  plane: ControlPlane,
  vm: VmRecord,
  { bestEffort = false }: RequestOf<'vm.start'>,
  context: OperationContext,
): Promise<void> {
  const { inventory } = plane
  const driver = driverOf(plane, vm)
  for (const disk of disksOfVm(inventory, vm)) {
    await exclusively(inventory, `disk ${disk.name}`, () => settleDisk(plane, disk, context))
  }
  await refuseIncompleteDisks(plane, vm)
  const disks = disksOfVm(inventory, vm)
  try {
    await takeShares(plane, disks, { isBestEffort: bestEffort })
    await reserveFor(plane, vm)
    await driver.startPaused(vm)
    await reconcileDisks(plane, vm)
    await driver.resume(vm)
  } catch (error) {
    await takeBack(plane, vm).catch(() => {})
    throw asVmcacheError(error)
  }
}

/** Nothing of the guest has run, and nothing is kept for it. */
async function takeBack(plane: ControlPlane, vm: VmRecord): Promise<void> {
  const driver = driverOf(plane, vm)
  // One that runs was started by somebody else.
  if ((await observeVm(driver, vm)).state === 'running') return
  await driver.destroy(vm)
  await releaseFor(plane, vm)
  for (const disk of disksOfVm(plane.inventory, vm)) await rest(plane, disk)
}

function stepsOf({ inventory }: ControlPlane, vm: VmRecord): string[] {
  return [
    `start VM ${vm.name}, stopped`,
    ...disksOfVm(inventory, vm).map((disk) => `send the requests of ${disk.vm.target} through cache ${disk.cache}`),
    `let VM ${vm.name} go on`,
  ]
}
