import { VmcacheError } from '../base/errors.js'
import { checkpointDocuments } from './checkpoint-document.js'
import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'

export function checkpointList(plane: ControlPlane): Operations['checkpoint.list'] {
  return async () => ({ checkpoints: await checkpointDocuments(plane) })
}

/** `name`: of its VM, or its id. */
export function checkpointShow(plane: ControlPlane): Operations['checkpoint.show'] {
  return async ({ name }) => {
    const all = await checkpointDocuments(plane)
    const found = all.find(({ id, uuid }) => id === name || uuid === name) ?? all.find(({ vm }) => vm === name)
    if (found === undefined) throw checkpointNotFound(name)
    return found
  }
}

export function checkpointNotFound(name: string): VmcacheError {
  return new VmcacheError('NOT_FOUND', `no VM ${name} is suspended, and no checkpoint is called so`, {
    hint: 'see: vmcache checkpoint list',
  })
}
