import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import { detachDisk } from './cache-detach.js'
import { exclusively } from './inventory.js'
import { disksOfVm, knownVm, namedTargets, vmNames, VMS } from './known-vm.js'
import type { Operations } from './operation.js'
import { overTargets } from './targets.js'

/** Gives domains back to libvirt alone: detaches their disks, live where they run, and forgets them. */
export function vmRelease(plane: ControlPlane): Operations['vm.release'] {
  const { host, inventory, state } = plane
  return (request, context) =>
    overTargets(
      namedTargets(inventory, request),
      vmNames(inventory),
      context,
      async (name, inner) => {
        const vm = knownVm(inventory, name)
        if (vm.definition !== null) {
          throw new VmcacheError('REFUSED', `VM ${name} is defined by vmcache itself`, {
            hint: `forget it: vmcache vm delete ${name}`,
          })
        }
        const options = { discardDirty: false, force: false, dryRun: request.dryRun }
        const steps: string[] = []
        for (const disk of disksOfVm(inventory, vm)) steps.push(...(await detachDisk(plane, disk.name, options, inner)))
        if (!request.dryRun) {
          await exclusively(inventory, `vm ${name}`, async () => {
            await state.vms.delete(host.id, vm.uuid)
            inventory.vms.delete(vm.uuid)
          })
        }
        return { changed: true, steps: [...steps, `let go of domain ${name}`] }
      },
      VMS,
    )
}
