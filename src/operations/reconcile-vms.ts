import type { ErrorCode } from '../base/errors.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { renewDisk } from '../hypervisor/exchange-disk.js'
import { observeVm, type ObservedDisk, type ObservedVm } from '../hypervisor/observe-vm.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively, inBackground } from './inventory.js'
import { disksOfVm, driverOf, type VmDisk } from './known-vm.js'
import { lacksWrites } from './origin-guard.js'
import { reconcileReservation } from './reservation.js'
import { servedDisk } from './served-disk.js'
import { settleCheckpoints } from './settle-checkpoints.js'
import { putThroughCache, settleDisk } from './vm-disks.js'

/**
 * Compares what is wanted of VMs with what is, by QEMU's block graph, and makes it so: an attached disk of a running VM goes through its
 * cache, whoever started the VM; what a VM that is off has dirty goes to its origins; a VM that was stopped because its server was away goes on.
 * Returns whether something is to be tried again soon.
 */
export async function reconcileVms(plane: ControlPlane): Promise<boolean> {
  const { inventory } = plane
  const isUnsettled = await settleCheckpoints(plane)
  await reconcileReservations(plane)
  const attached = watchVms(plane)
  const outcomes = await Promise.all(
    attached.map(async (vm) => {
      if (inventory.busy.has(`vm ${vm.name}`)) return true
      return inBackground(inventory, `vm ${vm.name}`, () => reconcileVm(plane, vm)).catch((error: unknown) => {
        for (const { name } of disksOfVm(inventory, vm)) inventory.whyDirect.set(name, asVmcacheError(error).message)
        return false
      })
    }),
  )
  return isUnsettled || outcomes.includes(true)
}

/** What a VM is promised follows it when it is started or ended by others. */
async function reconcileReservations(plane: ControlPlane): Promise<void> {
  const { inventory } = plane
  const concerned = [...inventory.vms.values()].filter(
    ({ uuid, policy }) => policy.rapidSuspend !== 'off' || inventory.reservations.has(uuid),
  )
  await Promise.all(
    concerned.map(async (vm) => {
      if (inventory.busy.has(`vm ${vm.name}`)) return
      // Where there is no room now, there may be the next time.
      await inBackground(inventory, `vm ${vm.name}`, () => reconcileReservation(plane, vm)).catch(() => {})
    }),
  )
}

/** Makes the drivers tell of every VM that has attached disks, or a policy; returns those that have disks. */
export function watchVms({ drivers, inventory }: ControlPlane): VmRecord[] {
  const vms = [...inventory.vms.values()]
  const attached = vms.filter((vm) => disksOfVm(inventory, vm).length > 0)
  const watched = vms.filter((vm) => attached.includes(vm) || vm.policy.rapidSuspend !== 'off')
  for (const driver of Object.values(drivers)) driver.watch(watched.filter((vm) => vm.driver === driver.name))
  return attached
}

async function reconcileVm(plane: ControlPlane, vm: VmRecord): Promise<boolean> {
  const driver = driverOf(plane, vm)
  const { hasRenewed, waits } = await reconcileDisks(plane, vm)
  // All of its disks are served again: a request that fails now would stop it anew, and be seen.
  if (hasRenewed && !waits) await driver.resume(vm)
  await followName(plane, vm)
  return waits
}

/** A domain may have been renamed; it is its UUID. */
async function followName(plane: ControlPlane, vm: VmRecord): Promise<void> {
  const { name } = await driverOf(plane, vm).declared(vm)
  const isTaken = [...plane.inventory.vms.values()].some((other) => other.name === name)
  if (name === vm.name || isTaken) return
  const renamed = { ...vm, name }
  await plane.state.vms.save(renamed)
  plane.inventory.vms.set(vm.uuid, renamed)
}

export interface Reconciled {
  /** A disk could not be dealt with now. */
  readonly waits: boolean
  /** The VM had been stopped, and has a new connection to its cache. */
  readonly hasRenewed: boolean
}

/** The same for the disks of one VM. The caller keeps others from changing the VM. */
export async function reconcileDisks(plane: ControlPlane, vm: VmRecord): Promise<Reconciled> {
  const { inventory, journal } = plane
  const monitor = await monitorOf(plane, vm)
  const observed = await observeVm(driverOf(plane, vm), vm, monitor)
  const outcomes = await Promise.all(
    disksOfVm(inventory, vm).map(async (disk): Promise<Done | 'later'> => {
      const { name, cache } = disk
      if (inventory.busy.has(`disk ${name}`)) return 'later'
      try {
        const done = await exclusively(inventory, `disk ${name}`, () => reconcileDisk(plane, disk, observed, monitor))
        if (done !== null) {
          await journal.record({ what: done, who: 'engine', result: 'ok', vm: vm.name, disk: name, cache })
        }
        return done
      } catch (error) {
        const { code, message } = asVmcacheError(error)
        inventory.whyDirect.set(name, message)
        return HOPELESS.has(code) ? null : 'later'
      }
    }),
  )
  return { waits: outcomes.includes('later'), hasRenewed: outcomes.includes('vm.reconnect') }
}

/** Null where the VM is off, or is not there any more. */
async function monitorOf(plane: ControlPlane, vm: VmRecord): Promise<VmMonitor | null> {
  try {
    return await driverOf(plane, vm).monitor(vm)
  } catch (error) {
    if (asVmcacheError(error).code === 'VM_NOT_FOUND') return null
    throw error
  }
}

/** What does not mend itself in seconds. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['REFUSED', 'DIRTY_DATA', 'ORIGIN_SIZE'])

/** What was done, as the journal calls it; null where all is as it should be, or nothing can be done. */
type Done = 'vm.insert' | 'vm.reconnect' | 'vm.settle' | null

async function reconcileDisk(
  plane: ControlPlane,
  disk: VmDisk,
  { state, disks }: ObservedVm,
  monitor: VmMonitor | null,
): Promise<Done> {
  const { inventory } = plane
  const { name } = disk
  const now = disks.find((other) => other.target === disk.vm.target)
  if (state === 'off' || monitor === null) {
    if (!inventory.throughCache.has(name) && !lacksWrites(plane, name)) return null
    await settleDisk(plane, disk, { progress: () => {}, signal: new AbortController().signal })
    return 'vm.settle'
  }
  if (now?.path.kind === 'cached' && now.path.socket === disk.socket) {
    inventory.throughCache.add(name)
    inventory.whyDirect.delete(name)
    if (state !== 'io-error') return null
    await renew(plane, disk, monitor, now)
    return 'vm.reconnect'
  }
  inventory.throughCache.delete(name)
  if (now === undefined || now.whyDirect !== null || now.path.kind === 'cached') {
    inventory.whyDirect.set(name, whyNot(now))
    return null
  }
  await putThroughCache(plane, disk, monitor, now)
  return 'vm.insert'
}

function whyNot(now: ObservedDisk | undefined): string {
  if (now === undefined) return 'the VM has no such disk'
  return now.whyDirect ?? 'another cache serves it'
}

async function renew(plane: ControlPlane, disk: VmDisk, monitor: VmMonitor, now: ObservedDisk): Promise<void> {
  const { sizeBytes } = await servedDisk(plane, disk.name)
  await renewDisk(monitor, now, { socket: disk.socket, sizeBytes })
}
