import { VmcacheError } from '../base/errors.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { disksOfVm, driverOf, overVms } from './known-vm.js'
import type { OperationContext, Operations } from './operation.js'
import { releaseFor } from './reservation.js'
import { settleDisk } from './vm-disks.js'

/** How long a guest may take to shut down. */
const PATIENCE_MILLISECONDS = 180_000
const LOOK_MILLISECONDS = 250

/** Stops VMs, and writes what their origins lack. */
export function vmStop(plane: ControlPlane): Operations['vm.stop'] {
  const { inventory } = plane
  return (request, context) =>
    overVms(plane, request, context, async (vm, inner) => {
      if ((await driverOf(plane, vm).monitor(vm)) === null) return { changed: false, steps: [] }
      if (!request.dryRun) await exclusively(inventory, `vm ${vm.name}`, () => stop(plane, vm, request.force, inner))
      const end = request.force ? `end VM ${vm.name} at once` : `ask VM ${vm.name} to shut down`
      const disks = disksOfVm(inventory, vm).map((disk) => `write what the origin of ${disk.name} lacks`)
      return { changed: true, steps: [end, ...disks] }
    })
}

async function stop(plane: ControlPlane, vm: VmRecord, force: boolean, context: OperationContext): Promise<void> {
  const driver = driverOf(plane, vm)
  if (force) await driver.destroy(vm)
  else {
    await driver.powerDown(vm)
    await waitUntilOff(plane, vm, context)
  }
  await releaseFor(plane, vm)
  for (const disk of disksOfVm(plane.inventory, vm)) {
    await exclusively(plane.inventory, `disk ${disk.name}`, () => settleDisk(plane, disk, context))
  }
}

async function waitUntilOff(plane: ControlPlane, vm: VmRecord, { signal }: OperationContext): Promise<void> {
  const { clock } = plane
  const deadline = clock.monotonic() + PATIENCE_MILLISECONDS
  while ((await driverOf(plane, vm).monitor(vm)) !== null) {
    signal.throwIfAborted()
    if (clock.monotonic() > deadline) {
      throw new VmcacheError('TIMEOUT', `VM ${vm.name} does not shut down within ${PATIENCE_MILLISECONDS / 1000} s`, {
        hint: `its guest may not listen to its power button; end it: vmcache vm stop ${vm.name} --force`,
      })
    }
    await new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve))
  }
}
