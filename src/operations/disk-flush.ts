import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'
import { servedDisk } from './served-disk.js'
import { overTargets } from './targets.js'

/** After it the origins of the disks have everything that was acknowledged before. */
export function diskFlush(plane: ControlPlane): Operations['disk.flush'] {
  return (request, context) =>
    overTargets(request, [...plane.inventory.disks.keys()], context, async (name, { progress, signal }) => {
      const { dirtyBytes } = await servedDisk(plane, name)
      if (!request.dryRun) await plane.engine.flush(name, { progress, signal })
      return { changed: dirtyBytes > 0, steps: [`write what the origin of disk ${name} lacks, and flush the origin`] }
    })
}
