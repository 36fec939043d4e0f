import { openConsoles } from '../hypervisor/open-consoles.js'
import { observeActivity } from '../model/idleness.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'

/** Looks at what every VM does now; to be called a few times a minute. One that does not run, or does not answer, has no activity. */
export async function observeActivities(plane: ControlPlane): Promise<void> {
  const { clock, drivers, idleLimits, inventory } = plane
  const vms = [...inventory.vms.values()]
  const loads = await Promise.all(
    Object.values(drivers).map((driver) => driver.loads(vms.filter((vm) => vm.driver === driver.name))),
  )
  const running = new Map(loads.flatMap((found) => [...found]))
  for (const uuid of inventory.activities.keys()) if (!running.has(uuid)) inventory.activities.delete(uuid)
  await Promise.all(
    [...running].map(async ([uuid, load]) => {
      const consoles = await consolesOf(plane, inventory.vms.get(uuid))
      const sample = { ...load, at: clock.monotonic(), consoles }
      const before = inventory.activities.get(uuid) ?? null
      inventory.activities.set(uuid, observeActivity(before, sample, idleLimits))
    }),
  )
}

/** Seconds for which a VM has been idle; null where nobody knows. */
export function idleSecondsOf({ clock, inventory }: ControlPlane, { uuid }: Pick<VmRecord, 'uuid'>): number | null {
  const activity = inventory.activities.get(uuid)
  return activity === undefined ? null : Math.floor((clock.monotonic() - activity.idleSince) / 1000)
}

async function consolesOf(plane: ControlPlane, vm: VmRecord | undefined): Promise<string[]> {
  if (vm === undefined) return []
  const monitor = await driverOf(plane, vm)
    .monitor(vm)
    .catch(() => null)
  return monitor === null ? [] : openConsoles(monitor)
}
