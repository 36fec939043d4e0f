import type { VmRecord } from '../state/vm-store.js'
import { checkedVmName } from '../model/vm.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import type { Operations } from './operation.js'
import { policyOfVm } from './policies.js'
import { overTargets } from './targets.js'
import { VMS } from './known-vm.js'
import { refuseTakenVmName } from './vm-define.js'

/** Makes domains of libvirt known, so that their disks can be attached. Nothing of them is changed. */
export function vmAdopt(plane: ControlPlane): Operations['vm.adopt'] {
  const { clock, drivers, host, inventory, state } = plane
  return ({ domains, connect, dryRun }, context) =>
    overTargets(
      { names: domains, all: false, exclude: [], dryRun },
      domains,
      context,
      async (domain) => {
        const { uuid, name } = await drivers.libvirt.find(domain, connect)
        checkedVmName(name)
        refuseTakenVmName(plane, name, uuid)
        const known = inventory.vms.get(uuid)
        const changed = known === undefined || known.connect !== connect
        if (changed && !dryRun) {
          const createdAt = known?.createdAt ?? new Date(clock.now()).toISOString()
          const policy = policyOfVm(inventory.policies, uuid)
          const vm: VmRecord = {
            host: host.id,
            uuid,
            name,
            driver: 'libvirt',
            connect,
            definition: null,
            policy,
            createdAt,
          }
          await exclusively(inventory, `vm ${name}`, async () => {
            await state.vms.save(vm)
            inventory.vms.set(uuid, vm)
          })
        }
        return { changed, steps: changed ? [`take over domain ${name} (${uuid})`] : [] }
      },
      VMS,
    )
}
