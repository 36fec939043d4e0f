import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { CheckpointDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { dropCheckpoint } from './known-checkpoint.js'
import { CHECKPOINTS, namedCheckpoints } from './named-checkpoints.js'
import type { Operations } from './operation.js'
import { documentPlace } from './checkpoint-document.js'
import { overTargets } from './targets.js'

/** Loses the memory of suspended VMs: they can be started then, as after a power cut. Named by VM, or by id. */
export function checkpointDelete(plane: ControlPlane): Operations['checkpoint.delete'] {
  return async (request, context) => {
    const { byName, nameOf } = await namedCheckpoints(plane)
    const targets = { ...request, names: request.names.map(nameOf) }
    return overTargets(
      targets,
      [...byName.keys()],
      context,
      async (name) => {
        const document = byName.get(name)!
        refuseLoss(name, document, request.discardMemory)
        if (!request.dryRun) await remove(plane, document)
        const what = `the memory of VM ${document.vm} (${formatSize(document.bytes)})`
        return { changed: true, steps: [`lose ${what}, in ${document.path ?? `cache ${document.cache}`}`] }
      },
      CHECKPOINTS,
    )
  }
}

function refuseLoss(name: string, { vm, bytes, createdAt, state }: CheckpointDocument, discardMemory: boolean): void {
  if (state === 'suspending' || state === 'resuming') {
    throw new VmcacheError('WRONG_STATE', `VM ${vm} is ${state}`, { hint: 'wait for it: vmcache job list' })
  }
  if (discardMemory) return
  throw new VmcacheError(
    'REFUSED',
    `the memory of VM ${vm} (${formatSize(bytes)}, of ${createdAt}) is in its checkpoint alone, and would be lost`,
    { hint: `let it go on: vmcache vm resume ${vm}; or lose it: vmcache checkpoint delete ${name} --discard-memory` },
  )
}

async function remove(plane: ControlPlane, document: CheckpointDocument): Promise<void> {
  const { id, uuid, vm, state } = document
  if (state === 'unrecorded') return plane.engine.deleteCheckpoint(documentPlace(document), id)
  await exclusively(plane.inventory, `vm ${vm}`, async () => {
    const checkpoint = plane.inventory.checkpoints.get(uuid)
    if (checkpoint?.id === id) await dropCheckpoint(plane, checkpoint)
  })
}
