import { VmcacheError } from '../base/errors.js'
import { insertDisk, removeDisk } from '../hypervisor/exchange-disk.js'
import { observeDisks, type ObservedDisk } from '../hypervisor/observe-vm.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { DEFAULT_MODE } from '../model/mode.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { rest, takeShares } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { drainDisk } from './drain-disk.js'
import { driverOf, type VmDisk } from './known-vm.js'
import type { OperationContext } from './operation.js'
import { grantedMode, lacksWrites, releaseIfComplete } from './origin-guard.js'
import { servedDisk } from './served-disk.js'

type Draining = Pick<OperationContext, 'progress' | 'signal'>

/**
 * Sends the requests of a running VM's disk through the engine. Until now they went to the origin past it, so nothing that is cached may be
 * believed; nobody reads through the engine yet. The caller keeps others from changing the disk.
 */
export async function putThroughCache(
  plane: ControlPlane,
  disk: VmDisk,
  monitor: VmMonitor,
  observed: ObservedDisk,
): Promise<void> {
  const { engine, inventory } = plane
  const { name, mode } = disk
  const served = await servedDisk(plane, name)
  if (served.state !== 'serving' && served.state !== 'direct') {
    throw new VmcacheError('WRONG_STATE', `disk ${name} is ${served.state}${because(served.reason)}`)
  }
  if (lacksWrites(plane, name)) {
    throw new VmcacheError(
      'DIRTY_DATA',
      `VM runs on ${disk.origin} past its cache, which holds writes that the origin lacks`,
      { hint: `stop the VM; then find out what its disk holds: vmcache disk show ${name}` },
    )
  }
  refuseUnsafeMode(mode, disk, observed)
  if (served.state === 'serving') await engine.invalidate(name)
  await insertDisk(monitor, observed, { socket: disk.socket, sizeBytes: served.sizeBytes })
  await comeToWork(plane, disk)
  inventory.whyDirect.delete(name)
  await takeUpMode(plane, disk)
}

/** The guest of a disk that reports errors would see one when the engine is away, and lose what it believes to be written. */
export function refuseUnsafeMode(
  mode: string,
  { name }: { name: string },
  { stopsOnError, target }: ObservedDisk,
): void {
  if (mode !== 'write-back' || stopsOnError) return
  throw new VmcacheError(
    'REFUSED',
    `disk ${name} may not use write-back: its guest is told of I/O errors of ${target}, and does not wait for an engine that is away`,
    { hint: "define its error policy as 'stop', and start the VM again; or attach it with --mode write-through" },
  )
}

/**
 * Sends the requests of a running VM's disk to its own storage again, once that has everything. Does nothing where they go there already, or the
 * VM is off. Where it fails the disk goes on as before.
 */
export async function takeOutOfCache(
  plane: ControlPlane,
  vm: VmRecord,
  disk: VmDisk,
  context: Draining,
): Promise<void> {
  const { inventory } = plane
  const found = await findDisk(plane, vm, disk)
  if (found === null || found.observed.path.kind === 'direct') {
    inventory.throughCache.delete(disk.name)
    return
  }
  try {
    await leaveWriteBack(plane, disk, 'it is being detached', context)
    const { dirtyBytes } = await servedDisk(plane, disk.name)
    if (dirtyBytes > 0 || lacksWrites(plane, disk.name)) {
      throw new VmcacheError('DIRTY_DATA', `origin of disk ${disk.name} lacks writes still`, {
        hint: `see why: vmcache disk show ${disk.name}`,
      })
    }
    await removeDisk(found.monitor, found.observed)
    inventory.throughCache.delete(disk.name)
  } catch (error) {
    await takeUpMode(plane, disk).catch(() => {})
    throw error
  }
}

/** A disk of a VM that is off, or stands still, holds nothing back: the VM can be started without vmcache. */
export async function settleDisk(
  plane: ControlPlane,
  disk: VmDisk,
  context: Draining,
  reason = 'its VM is off',
): Promise<void> {
  plane.inventory.throughCache.delete(disk.name)
  plane.inventory.whyDirect.delete(disk.name)
  await leaveWriteBack(plane, disk, reason, context)
  await rest(plane, disk)
}

/** The requests of a disk come through the engine. Whoever has started its VM: it has its share. */
export async function comeToWork(plane: ControlPlane, disk: VmDisk): Promise<void> {
  plane.inventory.throughCache.add(disk.name)
  await takeShares(plane, [disk], { isBestEffort: true })
}

/** A disk that was settled, and whose VM goes on after all, has its mode again where its requests come through the engine. */
export async function comeThroughCache(plane: ControlPlane, vm: VmRecord, disk: VmDisk): Promise<void> {
  const found = await findDisk(plane, vm, disk)
  if (found?.observed.path.kind !== 'cached') return
  await comeToWork(plane, disk)
  await takeUpMode(plane, disk)
}

/** The mode that is wanted of a disk whose VM uses it through the engine. */
async function takeUpMode(plane: ControlPlane, disk: VmDisk): Promise<void> {
  const served = await servedDisk(plane, disk.name)
  const mode = served.state === 'direct' ? disk.mode : await grantedMode(plane, disk)
  if (mode !== served.mode.wanted) await plane.engine.change(disk.name, { mode })
}

/** Writes through from now on, and gives the origin what it lacks. */
async function leaveWriteBack(plane: ControlPlane, disk: VmDisk, reason: string, context: Draining): Promise<void> {
  const { engine, inventory } = plane
  const { name } = disk
  const served = (await engine.disks()).find((other) => other.disk === name)
  if (served === undefined) return
  if (served.mode.wanted === 'write-back' || served.mode.inForce === 'write-back') {
    inventory.withheldModes.set(name, reason)
    await drainDisk(plane, name, context, null, (draining) => engine.change(name, { mode: DEFAULT_MODE }, draining))
  }
  await releaseIfComplete(plane, disk)
}

async function findDisk(
  plane: ControlPlane,
  vm: VmRecord,
  { vm: { target } }: VmDisk,
): Promise<{ monitor: VmMonitor; observed: ObservedDisk } | null> {
  const driver = driverOf(plane, vm)
  try {
    const monitor = await driver.monitor(vm)
    if (monitor === null) return null
    const { disks } = await driver.declared(vm)
    const observed = (await observeDisks(monitor, disks)).find((disk) => disk.target === target)
    return observed === undefined ? null : { monitor, observed }
  } catch (error) {
    // Somebody has undefined it.
    if (asVmcacheError(error).code === 'VM_NOT_FOUND') return null
    throw error
  }
}

function because(reason: string | null): string {
  return reason === null ? '' : `: ${reason}`
}
