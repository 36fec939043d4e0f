import { attention, attentionOfCheckpoints } from './attention.js'
import { cacheDocuments } from './cache-document.js'
import { checkpointDocuments } from './checkpoint-document.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocuments } from './disk-document.js'
import { engineDocument } from './engine-status.js'
import type { Operations } from './operation.js'

/** One screen: the engine, its caches, what needs attention, jobs. */
export function status(plane: ControlPlane): Operations['status.show'] {
  return async () => {
    const caches = cacheDocuments(plane)
    const disks = await diskDocuments(plane)
    return {
      engine: engineDocument(plane, caches, disks),
      caches,
      counts: { caches: caches.length, disks: disks.length, vms: plane.inventory.vms.size },
      attention: [...attention(plane, caches, disks), ...attentionOfCheckpoints(await checkpointDocuments(plane))],
      jobs: [...plane.runningJobs()],
    }
  }
}
