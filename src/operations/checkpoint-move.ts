import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { placeText, type CheckpointDestination, type CheckpointPlace } from '../model/checkpoint.js'
import type { CheckpointDocument } from '../protocol/control/documents.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { isAt, placeFor, storageDirectory } from './checkpoint-place.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { eraseLeftover, saveCheckpoint } from './known-checkpoint.js'
import { knownVm } from './known-vm.js'
import { CHECKPOINTS, namedCheckpoints } from './named-checkpoints.js'
import type { OperationContext, Operations } from './operation.js'
import { overTargets } from './targets.js'

/** Moves the memory of suspended VMs between a cache and storage. Named by VM, or by id. */
export function checkpointMove(plane: ControlPlane): Operations['checkpoint.move'] {
  return async (request, context) => {
    const { to, dryRun } = request
    if (to === 'storage') storageDirectory(plane)
    const { byName, nameOf } = await namedCheckpoints(plane)
    const names = request.names.map(nameOf)
    // A filter means those that wait for being resumed.
    const meant = [...byName].filter(([name, { state }]) => state === 'suspended' || names.includes(name))
    return overTargets(
      { ...request, names },
      meant.map(([name]) => name),
      context,
      async (name, inner) => {
        const document = byName.get(name)!
        const checkpoint = movable(plane, document)
        if (isAt(checkpoint.place, to)) return { changed: false, steps: [] }
        const place = placeFor(plane, knownVm(plane.inventory, document.vm), to)
        const steps = stepsOf(document, checkpoint, place)
        if (dryRun) return { changed: true, steps }
        await exclusively(plane.inventory, `vm ${document.vm}`, () => moveInTurn(plane, document, to, inner))
        return { changed: true, steps }
      },
      CHECKPOINTS,
    )
  }
}

/** The record of a checkpoint that nobody uses. */
function movable({ inventory }: ControlPlane, { id, uuid, vm, state }: CheckpointDocument): CheckpointRecord {
  const checkpoint = inventory.checkpoints.get(uuid)
  if (checkpoint?.id === id && checkpoint.state === 'suspended') return checkpoint
  const isUnknown = state === 'unrecorded'
  throw new VmcacheError(
    'WRONG_STATE',
    isUnknown ? `nobody knows what became of VM ${vm}: checkpoint ${id} is not moved` : `VM ${vm} is ${state}`,
    {
      hint: isUnknown
        ? `give it up: vmcache checkpoint delete ${id} --discard-memory`
        : 'wait for it: vmcache job list',
    },
  )
}

async function moveInTurn(
  plane: ControlPlane,
  document: CheckpointDocument,
  to: CheckpointDestination,
  context: OperationContext,
): Promise<void> {
  // Somebody may have resumed or moved it meanwhile.
  const checkpoint = movable(plane, document)
  if (isAt(checkpoint.place, to)) return
  await move(plane, checkpoint, placeFor(plane, knownVm(plane.inventory, document.vm), to), context)
}

/**
 * Each step is on stable storage before the next: that something will be there is on record; it is there, and was read back; that it counts is
 * on record, and that the other one does not; that one is erased. So there is always one that counts, and it is whole. What an engine
 * that dies in between leaves, settle-checkpoints.ts erases.
 */
async function move(
  plane: ControlPlane,
  checkpoint: CheckpointRecord,
  to: CheckpointPlace,
  context: OperationContext,
): Promise<void> {
  const { engine } = plane
  if ('directory' in to) await engine.makeCheckpointDirectory(to.directory)
  const { id, place: from } = checkpoint
  const begun = { ...(await eraseLeftover(plane, checkpoint)), leftover: to }
  await saveCheckpoint(plane, begun)
  let moved: CheckpointRecord
  try {
    const { storedBytes } = await engine.copyCheckpoint(from, id, to, context)
    moved = { ...begun, place: to, leftover: from, storedBytes }
    await saveCheckpoint(plane, moved)
  } catch (error) {
    // Where it cannot be erased now, it is later.
    await eraseLeftover(plane, begun).catch(() => {})
    throw asVmcacheError(error)
  }
  await eraseLeftover(plane, moved).catch(() => {})
}

function stepsOf({ vm, bytes }: CheckpointDocument, { id, place }: CheckpointRecord, to: CheckpointPlace): string[] {
  return [
    `copy the memory of VM ${vm} (${formatSize(bytes)}) to ${placeText(to, id)}, and verify it there`,
    `erase it in ${placeText(place, id)}`,
  ]
}
