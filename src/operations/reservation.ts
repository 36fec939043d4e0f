import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { longestStream } from '../hypervisor/memory-stream.js'
import type { RapidSuspend } from '../model/vm-policy.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { cacheFor } from './checkpoint-cache.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'

/**
 * The room in a cache that is promised to a running VM for its memory. The engine keeps it for as long as it has the cache open; what is wanted
 * is policy, and promised anew where it is not any more.
 */

/** Promises a VM what its policy wants; NO_SPACE where that cannot be, and it is not best effort. Does nothing where no policy wants it. */
export async function reserveFor(
  plane: ControlPlane,
  vm: VmRecord,
  rapidSuspend: RapidSuspend = vm.policy.rapidSuspend,
): Promise<void> {
  if (rapidSuspend === 'off') return releaseFor(plane, vm)
  const { engine, inventory } = plane
  const cache = inventory.reservations.get(vm.uuid)?.cache ?? cacheFor(plane, vm)
  const { memoryBytes } = await driverOf(plane, vm).declared(vm)
  const wanted = longestStream(memoryBytes)
  try {
    const bytes = await engine.reserve(cache, vm.uuid, wanted, { bestEffort: rapidSuspend === 'best-effort' })
    inventory.reservations.set(vm.uuid, { cache, bytes })
  } catch (error) {
    throw noRoom(vm, cache, wanted, asVmcacheError(error))
  }
}

/** Gives up what a VM is promised. */
export async function releaseFor({ engine, inventory }: ControlPlane, { uuid }: VmRecord): Promise<void> {
  const reservation = inventory.reservations.get(uuid)
  if (reservation === undefined) return
  inventory.reservations.delete(uuid)
  await engine.reserve(reservation.cache, uuid, 0, { bestEffort: true })
}

/** Makes promises what policies want: of a VM that runs one, of one that is off none. What cannot be promised now is tried again later. */
export async function reconcileReservation(plane: ControlPlane, vm: VmRecord): Promise<void> {
  const { inventory } = plane
  const isReserved = inventory.reservations.has(vm.uuid)
  const isWanted = vm.policy.rapidSuspend !== 'off' && (await driverOf(plane, vm).monitor(vm)) !== null
  if (isReserved && !isWanted) await releaseFor(plane, vm)
  if (!isReserved && isWanted) await reserveFor(plane, vm, 'best-effort')
}

function noRoom({ name }: VmRecord, cache: string, bytes: number, cause: VmcacheError): VmcacheError {
  if (cause.code !== 'NO_SPACE') return cause
  return new VmcacheError(
    'NO_SPACE',
    `cache ${cache} has no room for the memory of VM ${name} (${formatSize(bytes)})`,
    {
      hint: `give it another device; or take what there is: vmcache policy set --vm ${name} --rapid-suspend best-effort`,
      details: { cache, bytes, ...cause.details },
      cause,
    },
  )
}
