import { VmcacheError } from '../base/errors.js'
import type { EngineDisk } from '../engine/engine.js'
import type { ControlPlane } from './control-plane.js'
import { knownDisk } from './inventory.js'

/** What the engine says of a disk that it serves; WRONG_STATE where the disk is recorded but not served. */
export async function servedDisk({ engine, inventory }: ControlPlane, name: string): Promise<EngineDisk> {
  knownDisk(inventory, name)
  const served = (await engine.disks()).find(({ disk }) => disk === name)
  if (served !== undefined) return served
  const trouble = inventory.diskTroubles.get(name)
  throw new VmcacheError('WRONG_STATE', `disk ${name} is not served: ${trouble?.reason ?? 'it is being attached'}`, {
    hint: trouble?.mend ?? 'wait for it: vmcache job list',
  })
}
