import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { placeText, type CheckpointPlace } from '../model/checkpoint.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import type { Inventory } from './inventory.js'

/** Writes a checkpoint down in the database, then in memory; and libvirt may start its domain, or not. */
export async function saveCheckpoint(plane: ControlPlane, checkpoint: CheckpointRecord): Promise<void> {
  const { inventory, state } = plane
  await state.checkpoints.save(checkpoint)
  inventory.checkpoints.set(checkpoint.vm, checkpoint)
  await plane.listSuspended()
}

/** Frees what a checkpoint holds, then forgets it. */
export async function dropCheckpoint(plane: ControlPlane, checkpoint: CheckpointRecord): Promise<void> {
  await eraseCheckpoint(plane, checkpoint)
  await plane.state.checkpoints.delete(checkpoint.id)
  plane.inventory.checkpoints.delete(checkpoint.vm)
  await plane.listSuspended()
}

/** Frees what a checkpoint holds, wherever something of it is; nothing where nothing is. */
export async function eraseCheckpoint(plane: ControlPlane, { id, place, leftover }: CheckpointRecord): Promise<void> {
  await eraseAt(plane, place, id)
  if (leftover !== null) await eraseAt(plane, leftover, id)
}

/** Erases what does not count of a suspended VM's checkpoint, and returns it as it is then on record. */
export async function eraseLeftover(plane: ControlPlane, checkpoint: CheckpointRecord): Promise<CheckpointRecord> {
  const { id, leftover } = checkpoint
  if (leftover === null) return checkpoint
  // A database that failed may have taken the last change all the same: first of all it says which of both counts.
  await saveCheckpoint(plane, checkpoint)
  await eraseAt(plane, leftover, id)
  const whole = { ...checkpoint, leftover: null }
  await saveCheckpoint(plane, whole)
  return whole
}

async function eraseAt({ engine }: ControlPlane, place: CheckpointPlace, id: string): Promise<void> {
  try {
    await engine.deleteCheckpoint(place, id)
  } catch (error) {
    if (asVmcacheError(error).code !== 'NOT_FOUND') throw error
  }
}

/** VMs of libvirt that must not be started by hand: while one is being resumed it is vmcache that starts it. */
export function suspendedDomains({ checkpoints, vms }: Inventory): VmRecord[] {
  const suspended = [...checkpoints.values()].filter(({ state }) => state === 'suspended')
  return suspended.flatMap(({ vm }) => vms.get(vm) ?? []).filter(({ driver }) => driver === 'libvirt')
}

/** Refuses where a checkpoint holds the memory of the VM: both ways out are named. */
export function refuseSuspended({ inventory }: ControlPlane, { uuid, name }: VmRecord): void {
  const checkpoint = inventory.checkpoints.get(uuid)
  if (checkpoint === undefined) return
  throw new VmcacheError(
    'WRONG_STATE',
    `VM ${name} is ${checkpoint.state}: ${placeText(checkpoint.place, checkpoint.id)} has its memory (${formatSize(checkpoint.bytes)})`,
    {
      hint: `let it go on: vmcache vm resume ${name}; or lose its memory: vmcache checkpoint delete ${name} --discard-memory`,
      details: { checkpoint: checkpoint.id },
    },
  )
}
