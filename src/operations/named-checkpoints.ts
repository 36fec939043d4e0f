import type { CheckpointDocument } from '../protocol/control/documents.js'
import { checkpointDocuments } from './checkpoint-document.js'
import { checkpointNotFound } from './checkpoint-list.js'
import type { ControlPlane } from './control-plane.js'
import type { TargetNoun } from './targets.js'

export const CHECKPOINTS: TargetNoun = { what: 'checkpoint', notFound: checkpointNotFound }

export interface NamedCheckpoints {
  /** One that is on record is called like its VM; others have only their ids. */
  readonly byName: ReadonlyMap<string, CheckpointDocument>
  /** The name of one that is named by id or by UUID; what fits none stays as it was written. */
  readonly nameOf: (name: string) => string
}

/** All checkpoints, as people name them. */
export async function namedCheckpoints(plane: ControlPlane): Promise<NamedCheckpoints> {
  const byName = new Map(
    (await checkpointDocuments(plane)).map((document) => [
      document.state === 'unrecorded' ? document.id : document.vm,
      document,
    ]),
  )
  const fits = (name: string, { id, uuid, state }: CheckpointDocument): boolean =>
    id === name || (state !== 'unrecorded' && uuid === name)
  return {
    byName,
    nameOf: (name) => [...byName].find(([, document]) => fits(name, document))?.[0] ?? name,
  }
}
