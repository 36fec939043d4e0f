import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'
import { servedDisk } from './served-disk.js'
import { overTargets } from './targets.js'

/** Forgets what is cached of the disks and is on their origins too. */
export function diskInvalidate(plane: ControlPlane): Operations['disk.invalidate'] {
  return (request, context) =>
    overTargets(request, [...plane.inventory.disks.keys()], context, async (name) => {
      const { cachedBytes } = await servedDisk(plane, name)
      if (!request.dryRun) await plane.engine.invalidate(name)
      return { changed: cachedBytes > 0, steps: [`drop the clean pages of disk ${name}`] }
    })
}
