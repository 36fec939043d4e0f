import { formatDuration } from '../base/units.js'
import type { ControlPlane } from './control-plane.js'
import { drainDisk } from './drain-disk.js'
import type { Operations } from './operation.js'
import { servedDisk } from './served-disk.js'
import { overTargets } from './targets.js'

/** After it the origins of the disks have everything that was acknowledged before, and for `holdSeconds` everything that comes. */
export function diskFlush(plane: ControlPlane): Operations['disk.flush'] {
  return (request, context) =>
    overTargets(request, [...plane.inventory.disks.keys()], context, async (name, inner) => {
      const { dirtyBytes } = await servedDisk(plane, name)
      const { holdSeconds = 0 } = request
      if (!request.dryRun)
        await drainDisk(plane, name, inner, null, (draining) =>
          plane.engine.flush(name, { ...draining, holdMilliseconds: holdSeconds * 1000 }),
        )
      const steps = [
        `write what the origin of disk ${name} lacks, and flush the origin`,
        ...(holdSeconds === 0
          ? []
          : [`answer writes to disk ${name} when its origin has them, for ${formatDuration(holdSeconds)}`]),
      ]
      return { changed: dirtyBytes > 0 || holdSeconds > 0, steps }
    })
}
