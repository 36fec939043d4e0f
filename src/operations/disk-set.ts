import { changePolicy } from './change-policy.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { givenSettings } from './given-settings.js'
import { knownDisk } from './inventory.js'
import type { Operations } from './operation.js'

/** Changes what is set of a disk itself, while it is served. */
export function diskSet(plane: ControlPlane): Operations['disk.set'] {
  return async ({ name, unset = [], dryRun, ...settings }, context) => {
    const target = { level: 'disk', object: knownDisk(plane.inventory, name).name, name } as const
    const result = await changePolicy(plane, target, { set: givenSettings(settings), unset, dryRun }, context)
    return { ...result, disk: await diskDocument(plane, name) }
  }
}
