import { cacheDocument } from './cache-document.js'
import { changePolicy } from './change-policy.js'
import type { ControlPlane } from './control-plane.js'
import { givenSettings } from './given-settings.js'
import { knownCache } from './inventory.js'
import type { Operations } from './operation.js'

/** Changes what is set of a cache, for its disks. */
export function cacheSet(plane: ControlPlane): Operations['cache.set'] {
  return async ({ name, unset = [], dryRun, ...settings }, context) => {
    const target = { level: 'cache', object: knownCache(plane.inventory, name).name, name } as const
    const result = await changePolicy(plane, target, { set: givenSettings(settings), unset, dryRun }, context)
    return { ...result, cache: cacheDocument(plane, name) }
  }
}
