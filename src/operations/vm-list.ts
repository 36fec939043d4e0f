import type { ControlPlane } from './control-plane.js'
import { knownVm } from './known-vm.js'
import type { Operations } from './operation.js'
import { vmDocument } from './vm-document.js'

export function vmList(plane: ControlPlane): Operations['vm.list'] {
  return async () => {
    const vms = await Promise.all([...plane.inventory.vms.values()].map((vm) => vmDocument(plane, vm)))
    return { vms: vms.sort((a, b) => (a.name < b.name ? -1 : 1)) }
  }
}

export function vmShow(plane: ControlPlane): Operations['vm.show'] {
  return async ({ name }) => vmDocument(plane, knownVm(plane.inventory, name))
}
