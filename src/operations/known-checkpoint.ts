import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'

/** Writes a checkpoint down in the database, then in memory. */
export async function saveCheckpoint({ inventory, state }: ControlPlane, checkpoint: CheckpointRecord): Promise<void> {
  await state.checkpoints.save(checkpoint)
  inventory.checkpoints.set(checkpoint.vm, checkpoint)
}

/** Frees what a checkpoint holds, then forgets it. */
export async function dropCheckpoint(plane: ControlPlane, checkpoint: CheckpointRecord): Promise<void> {
  await eraseCheckpoint(plane, checkpoint)
  await plane.state.checkpoints.delete(checkpoint.id)
  plane.inventory.checkpoints.delete(checkpoint.vm)
}

/** Frees what a checkpoint holds of its cache; nothing where that holds nothing of it. */
export async function eraseCheckpoint({ engine }: ControlPlane, { cache, id }: CheckpointRecord): Promise<void> {
  try {
    await engine.deleteCheckpoint(cache, id)
  } catch (error) {
    if (asVmcacheError(error).code !== 'NOT_FOUND') throw error
  }
}

/** Refuses where a checkpoint holds the memory of the VM: both ways out are named. */
export function refuseSuspended({ inventory }: ControlPlane, { uuid, name }: VmRecord): void {
  const checkpoint = inventory.checkpoints.get(uuid)
  if (checkpoint === undefined) return
  throw new VmcacheError(
    'WRONG_STATE',
    `VM ${name} is ${checkpoint.state}: cache ${checkpoint.cache} has its memory (${formatSize(checkpoint.bytes)})`,
    {
      hint: `let it go on: vmcache vm resume ${name}; or lose its memory: vmcache checkpoint delete ${name} --discard-memory`,
      details: { checkpoint: checkpoint.id },
    },
  )
}
