import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import { refuseSuspended } from './known-checkpoint.js'
import { disksOfVm, driverOf, forgetVm, overVms } from './known-vm.js'
import type { Operations } from './operation.js'

/** Forgets VMs that vmcache runs itself, and that are off. Their disks stay. */
export function vmDelete(plane: ControlPlane): Operations['vm.delete'] {
  const { inventory } = plane
  return (request, context) =>
    overVms(plane, request, context, async (vm) => {
      const { name } = vm
      if (vm.definition === null) {
        throw new VmcacheError('REFUSED', `VM ${name} is not defined by vmcache but by ${vm.driver}`, {
          hint: `let go of it: vmcache vm release ${name}`,
        })
      }
      if ((await driverOf(plane, vm).monitor(vm)) !== null) {
        throw new VmcacheError('WRONG_STATE', `VM ${name} runs`, { hint: `stop it first: vmcache vm stop ${name}` })
      }
      refuseSuspended(plane, vm)
      const [attached] = disksOfVm(inventory, vm)
      if (attached !== undefined) {
        throw new VmcacheError('IN_USE', `disk ${attached.name} is attached for VM ${name}`, {
          hint: `detach it first: vmcache cache detach --vm ${name}`,
        })
      }
      if (!request.dryRun) await forgetVm(plane, vm)
      return { changed: true, steps: [`forget VM ${name}`] }
    })
}
