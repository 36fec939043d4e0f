import { changePolicy } from './change-policy.js'
import type { ControlPlane } from './control-plane.js'
import { givenSettings } from './given-settings.js'
import { knownVm } from './known-vm.js'
import type { Operations } from './operation.js'
import { vmDocument } from './vm-document.js'

/** Changes what is set of a VM, for itself and for its disks. A reservation of a VM that runs is made at once, or nothing changes. */
export function vmSet(plane: ControlPlane): Operations['vm.set'] {
  return async ({ name, unset = [], dryRun, ...settings }, context) => {
    const vm = knownVm(plane.inventory, name)
    const target = { level: 'vm', object: vm.uuid, name: vm.name } as const
    const result = await changePolicy(plane, target, { set: givenSettings(settings), unset, dryRun }, context)
    return { ...result, vm: await vmDocument(plane, knownVm(plane.inventory, vm.uuid)) }
  }
}
