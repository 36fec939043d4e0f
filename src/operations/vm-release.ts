import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import { detachDisk } from './cache-detach.js'
import { refuseSuspended } from './known-checkpoint.js'
import { disksOfVm, forgetVm, overVms } from './known-vm.js'
import type { Operations } from './operation.js'

/** Gives domains back to libvirt alone: detaches their disks, live where they run, and forgets them. */
export function vmRelease(plane: ControlPlane): Operations['vm.release'] {
  const { inventory } = plane
  return (request, context) =>
    overVms(plane, request, context, async (vm, inner) => {
      const { name } = vm
      if (vm.definition !== null) {
        throw new VmcacheError('REFUSED', `VM ${name} is defined by vmcache itself`, {
          hint: `forget it: vmcache vm delete ${name}`,
        })
      }
      refuseSuspended(plane, vm)
      const options = { discardDirty: false, force: false, dryRun: request.dryRun }
      const steps: string[] = []
      for (const disk of disksOfVm(inventory, vm)) steps.push(...(await detachDisk(plane, disk.name, options, inner)))
      if (!request.dryRun) await forgetVm(plane, vm)
      return { changed: true, steps: [...steps, `let go of domain ${name}`] }
    })
}
