import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { disksOfVm, driverOf, knownVm, namedTargets, vmNames, VMS } from './known-vm.js'
import type { Operations } from './operation.js'
import { overTargets } from './targets.js'

/** Forgets VMs that vmcache runs itself, and that are off. Their disks stay. */
export function vmDelete(plane: ControlPlane): Operations['vm.delete'] {
  const { host, inventory, state } = plane
  return (request, context) =>
    overTargets(
      namedTargets(inventory, request),
      vmNames(inventory),
      context,
      async (name) => {
        const vm = knownVm(inventory, name)
        if (vm.definition === null) {
          throw new VmcacheError('REFUSED', `VM ${name} is not defined by vmcache but by ${vm.driver}`, {
            hint: `let go of it: vmcache vm release ${name}`,
          })
        }
        if ((await driverOf(plane, vm).monitor(vm)) !== null) {
          throw new VmcacheError('WRONG_STATE', `VM ${name} runs`, { hint: `stop it first: vmcache vm stop ${name}` })
        }
        const [attached] = disksOfVm(inventory, vm)
        if (attached !== undefined) {
          throw new VmcacheError('IN_USE', `disk ${attached.name} is attached for VM ${name}`, {
            hint: `detach it first: vmcache cache detach --vm ${name}`,
          })
        }
        if (!request.dryRun) {
          await exclusively(inventory, `vm ${name}`, async () => {
            await state.vms.delete(host.id, vm.uuid)
            inventory.vms.delete(vm.uuid)
          })
        }
        return { changed: true, steps: [`forget VM ${name}`] }
      },
      VMS,
    )
}
