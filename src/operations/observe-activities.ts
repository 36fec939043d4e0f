import { openConsoles } from '../hypervisor/open-consoles.js'
import { observeActivity } from '../model/idleness.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'

/** Of a VM into which a look costs a process. */
const CONSOLE_MILLISECONDS = 60_000

/** Looks at what every VM does now; to be called a few times a minute. One that does not run, or does not answer, has no activity. */
export async function observeActivities(plane: ControlPlane): Promise<void> {
  const { clock, drivers, idleLimits, inventory } = plane
  const vms = [...inventory.vms.values()]
  const loads = await Promise.all(
    Object.values(drivers).map((driver) => driver.loads(vms.filter((vm) => vm.driver === driver.name))),
  )
  const running = new Map(loads.flatMap((found) => [...found]))
  for (const uuid of inventory.activities.keys()) {
    if (running.has(uuid)) continue
    inventory.activities.delete(uuid)
    inventory.consoles.delete(uuid)
  }
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

/** Who looks at the console of a VM. */
async function consolesOf(plane: ControlPlane, vm: VmRecord | undefined): Promise<readonly string[]> {
  if (vm === undefined) return []
  const driver = driverOf(plane, vm)
  const { clock, inventory } = plane
  const known = inventory.consoles.get(vm.uuid)
  const isFresh = known !== undefined && clock.monotonic() - known.at < CONSOLE_MILLISECONDS
  if (isFresh && !driver.capabilities.cheapMonitors) return known.kinds
  const monitor = await driver.monitor(vm).catch(() => null)
  const kinds = monitor === null ? [] : await openConsoles(monitor)
  inventory.consoles.set(vm.uuid, { at: clock.monotonic(), kinds })
  return kinds
}
