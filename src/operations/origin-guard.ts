import { assert } from '../base/assert.js'
import { VmcacheError } from '../base/errors.js'
import type { EngineDisk } from '../engine/engine.js'
import { DEFAULT_MODE, type Mode } from '../model/mode.js'
import type { DiskRecord } from '../state/disk-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'

/**
 * What keeps others off an origin that may lack writes: its stamp says so (to other hosts, people and the libvirt hook), the supervisor
 * holds its image locks (against any QEMU of this host, also while no engine runs), and its tenure remembers it (for an origin that can
 * carry neither). All of it is there before the disk may take the first such write, and goes when the origin has everything and was flushed.
 */

/** Whether a disk in this mode holds writes that its origin lacks. */
function lacksWritesIn(mode: string): boolean {
  return mode === 'write-back'
}

/**
 * The mode that the engine may be told for a disk of which `mode` is wanted: that one, once the origin is guarded as it needs; where it
 * cannot be, write-through, and the inventory says why.
 */
export async function grantedMode(plane: ControlPlane, disk: DiskRecord): Promise<Mode> {
  const { withheldModes } = plane.inventory
  const { name, mode, readOnly } = disk
  try {
    if (lacksWritesIn(mode) && !readOnly) {
      refuseUnseen(plane, disk)
      refuseBesideVm(plane, disk)
      await guardOrigin(plane, disk)
    }
    withheldModes.delete(name)
    return mode
  } catch (error) {
    withheldModes.set(name, asVmcacheError(error).message)
    return DEFAULT_MODE
  }
}

function refuseUnseen(plane: ControlPlane, { name, origin, exclusive }: DiskRecord): void {
  if (knownTenure(plane, name).stampId !== null || plane.state.isShared || exclusive) return
  throw new VmcacheError(
    'REFUSED',
    `origin ${origin} carries no stamp: other hosts would not see that it lacks writes`,
    {
      hint: 'attach it with --exclusive where no other host writes it, or give all hosts one PostgreSQL as their state-url',
    },
  )
}

/** A VM that does not run through the engine may be started on the origin at any time: it would not see what only the cache has. */
function refuseBesideVm(plane: ControlPlane, { name, vm }: DiskRecord): void {
  const { inventory } = plane
  if (vm === null || inventory.throughCache.has(name) || lacksWrites(plane, name)) return
  const owner = inventory.vms.get(vm.uuid)?.name ?? vm.uuid
  throw new VmcacheError('REFUSED', `VM ${owner} does not run through it now`)
}

/** Guards the origin of a disk whose tenure is known; IN_USE where another program has it open. */
export async function guardOrigin(plane: ControlPlane, disk: DiskRecord): Promise<void> {
  const { inventory, locks } = plane
  const { name, origin } = disk
  const { kind, lacksWrites } = knownTenure(plane, name)
  if (kind !== 'nbd') await locks.lock(origin, name)
  try {
    await inventory.tenureTurns(name, () => mark(plane, disk, true))
  } catch (error) {
    if (kind !== 'nbd' && !lacksWrites) await locks.unlock(origin)
    throw error
  }
}

/** Nothing guards the origin any more: it has everything, and was flushed, or what it lacks was given up. */
export async function releaseOrigin(plane: ControlPlane, disk: DiskRecord): Promise<void> {
  await plane.inventory.tenureTurns(disk.name, () => mark(plane, disk, false))
  if (knownTenure(plane, disk.name).kind !== 'nbd') await plane.locks.unlock(disk.origin)
}

/** Releases the origin of a disk that holds nothing more, and cannot begin to. The caller keeps others from changing the disk. */
export async function releaseIfComplete(plane: ControlPlane, disk: DiskRecord): Promise<void> {
  if (!lacksWrites(plane, disk.name)) return
  const served = (await plane.engine.disks()).find((other) => other.disk === disk.name)
  if (served !== undefined && isComplete(served)) await releaseOrigin(plane, disk)
}

function isComplete({ dirtyBytes, mode, state }: EngineDisk): boolean {
  const isSettled = state === 'serving' || state === 'direct'
  return isSettled && dirtyBytes === 0 && !lacksWritesIn(mode.wanted) && !lacksWritesIn(mode.inForce)
}

/** Whether the origin of a recorded disk may lack writes, as far as this host knows. */
export function lacksWrites({ inventory }: ControlPlane, disk: string): boolean {
  return inventory.stampedLacking.has(disk) || (inventory.tenures.get(disk)?.lacksWrites ?? false)
}

/** Gives disks the mode that was withheld from them, where that is possible now, and releases the origins of disks that hold nothing more. */
export async function reviewGuards(plane: ControlPlane): Promise<void> {
  const { engine, inventory } = plane
  const served = new Map((await engine.disks()).map((disk) => [disk.disk, disk]))
  for (const disk of [...inventory.disks.values()]) {
    const { name } = disk
    const now = served.get(name)
    // The mode was not granted, or the disk could not take it up: its origin did not answer, its cache had no room.
    const isBehind = inventory.withheldModes.has(name) || now?.mode.inForce !== now?.mode.wanted
    const tries = isBehind && now?.state === 'serving'
    if (inventory.busy.has(`disk ${name}`) || !(tries || lacksWrites(plane, name))) continue
    await exclusively(inventory, `disk ${name}`, async () => {
      if (tries) {
        const mode = await grantedMode(plane, disk)
        if (mode === disk.mode) await engine.change(name, { mode })
      }
      await releaseIfComplete(plane, disk)
    }).catch(() => {})
  }
}

async function mark(plane: ControlPlane, { name, origin }: DiskRecord, lacksWrites: boolean): Promise<void> {
  const { host, inventory, stamps, state } = plane
  const tenure = knownTenure(plane, name)
  const { epoch, stampId } = tenure
  if (tenure.lacksWrites === lacksWrites && !inventory.stampedLacking.has(name)) return
  if (stampId !== null) {
    const stamp = { id: stampId, hostId: host.id, hostName: host.name, disk: name, epoch, lacksWrites }
    if (!(await stamps.write(origin, stamp))) {
      throw new VmcacheError('ORIGIN_FAILED', `the stamp of ${origin} cannot be written any more`, {
        hint: 'make its directory writable for the engine',
      })
    }
  }
  const marked = { ...tenure, lacksWrites }
  await state.tenures.save(marked)
  inventory.tenures.set(name, marked)
}

function knownTenure({ inventory }: ControlPlane, disk: string) {
  const tenure = inventory.tenures.get(disk)
  assert(tenure !== undefined, `disk ${disk} has a tenure`)
  return tenure
}
