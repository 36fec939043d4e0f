import { isDeepStrictEqual } from 'node:util'
import { policyText, type VmPolicy } from '../model/vm-policy.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { driverOf, knownVm } from './known-vm.js'
import type { Operations } from './operation.js'
import { reserveFor } from './reservation.js'
import { nextTime } from './schedule.js'
import { vmDocument } from './vm-document.js'

/** Changes what is wanted of a VM; what is not given stays. A reservation of a VM that runs is made at once, or nothing changes. */
export function vmSet(plane: ControlPlane): Operations['vm.set'] {
  const { inventory, state } = plane
  return async ({ name, dryRun, ...changes }) => {
    const vm = knownVm(inventory, name)
    const policy: VmPolicy = { ...vm.policy, ...changes }
    const changed = !isDeepStrictEqual(policy, vm.policy)
    if (changed) {
      checkSchedules(plane, policy)
    }
    if (changed && !dryRun) {
      await exclusively(inventory, `vm ${vm.name}`, async () => {
        const isOn = (await driverOf(plane, vm).monitor(vm)) !== null
        if (isOn) await reserveFor(plane, vm, policy.rapidSuspend)
        const known = { ...vm, policy }
        try {
          await state.vms.save(known)
        } catch (error) {
          if (isOn) await reserveFor(plane, vm).catch(() => {})
          throw error
        }
        inventory.vms.set(vm.uuid, known)
      })
    }
    const steps = changed ? [`have VM ${vm.name} ${policyText(policy) ?? 'without a policy'}`] : []
    const document = await vmDocument(plane, knownVm(inventory, name))
    return { changed, ...(dryRun ? { dryRun: true, steps } : {}), vm: document }
  }
}

function checkSchedules({ clock }: ControlPlane, { suspendAt, resumeAt, timeZone }: VmPolicy): void {
  for (const expression of [suspendAt, resumeAt]) {
    if (expression !== null) nextTime({ expression, timeZone }, clock.now())
  }
}
