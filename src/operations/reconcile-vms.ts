import { coalesce } from '../base/coalesce.js'
import type { ErrorCode } from '../base/errors.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { completeExchange, renewDisk } from '../hypervisor/exchange-disk.js'
import { observeVm, type ObservedDisk, type ObservedVm } from '../hypervisor/observe-vm.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { rest } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively, inBackground } from './inventory.js'
import { disksOfVm, driverOf, type VmDisk } from './known-vm.js'
import { lacksWrites } from './origin-guard.js'
import { reconcileReservation } from './reservation.js'
import { servedDisk } from './served-disk.js'
import { settleCheckpoint } from './settle-checkpoints.js'
import { comeToWork, putThroughCache, settleDisk } from './vm-disks.js'

/** Compares what is wanted of a VM, by name or UUID, or of all (null), with what is, and makes it so. Returns whether to try again soon. */
export type VmReconciler = (vm: string | null) => Promise<boolean>

/**
 * What is wanted of VMs: an attached disk of a running VM goes through its cache, whoever started the VM; what a VM that is off has dirty goes to
 * its origins; a VM that was stopped because its server was away goes on. What is, QEMU's block graph says. Each VM is looked at for itself: none
 * waits for another.
 */
export function createVmReconciler(plane: ControlPlane): VmReconciler {
  const looks = new Map<string, () => Promise<boolean>>()

  function look(uuid: string): Promise<boolean> {
    const again = looks.get(uuid) ?? coalesce(() => reconcileVm(plane, uuid))
    looks.set(uuid, again)
    return again()
  }

  return async (name) => {
    const { vms } = plane.inventory
    for (const uuid of looks.keys()) if (!vms.has(uuid)) looks.delete(uuid)
    const meant = [...vms.values()].filter((vm) => vm.uuid === name || vm.name === name)
    // Where nobody is called so, a VM may have been renamed.
    const concerned = meant.length > 0 ? meant : [...vms.values()]
    if (meant.length === 0) watchVms(plane)
    return (await Promise.all(concerned.map(({ uuid }) => look(uuid)))).includes(true)
  }
}

async function reconcileVm(plane: ControlPlane, uuid: string): Promise<boolean> {
  const { inventory } = plane
  const vm = inventory.vms.get(uuid)
  if (vm === undefined) return false
  const isUnsettled = await settleCheckpoint(plane, vm)
  if (inventory.busy.has(`vm ${vm.name}`)) return true
  const waits = await inBackground(inventory, `vm ${vm.name}`, async () => {
    const disks = disksOfVm(inventory, vm)
    const waits = disks.length > 0 && (await reconcileAttached(plane, vm))
    // What it is promised follows it when it is started or ended by others. Where there is no room now, there may be the next time.
    const isPromised = vm.policy.rapidSuspend !== 'off' || inventory.reservations.has(uuid)
    if (isPromised) await reconcileReservation(plane, vm).catch(() => {})
    return waits
  })
  return isUnsettled || waits
}

async function reconcileAttached(plane: ControlPlane, vm: VmRecord): Promise<boolean> {
  const { inventory } = plane
  try {
    const { hasRenewed, waits } = await reconcileDisks(plane, vm)
    // All of its disks are served again: a request that fails now would stop it anew, and be seen.
    if (hasRenewed && !waits) await driverOf(plane, vm).resume(vm)
    await followName(plane, vm)
    return waits
  } catch (error) {
    for (const { name } of disksOfVm(inventory, vm)) inventory.whyDirect.set(name, asVmcacheError(error).message)
    return false
  }
}

/** Makes the drivers tell of every VM that has attached disks, or a policy. */
export function watchVms({ drivers, inventory }: ControlPlane): void {
  const vms = [...inventory.vms.values()]
  const watched = vms.filter((vm) => disksOfVm(inventory, vm).length > 0 || vm.policy.rapidSuspend !== 'off')
  for (const driver of Object.values(drivers)) driver.watch(watched.filter((vm) => vm.driver === driver.name))
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
    if (!inventory.throughCache.has(name) && !lacksWrites(plane, name)) {
      await rest(plane, disk)
      return null
    }
    await settleDisk(plane, disk, { progress: () => {}, signal: new AbortController().signal })
    return 'vm.settle'
  }
  if (now?.path.kind === 'cached' && now.path.socket === disk.socket) {
    await comeToWork(plane, disk)
    inventory.whyDirect.delete(name)
    if (state !== 'io-error') {
      await completeExchange(monitor, now)
      return null
    }
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
