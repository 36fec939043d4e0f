import { VmcacheError } from '../base/errors.js'
import type { CheckpointDestination, CheckpointPlace } from '../model/checkpoint.js'
import type { VmRecord } from '../state/vm-store.js'
import { cacheFor } from './checkpoint-cache.js'
import type { ControlPlane } from './control-plane.js'

/** The place that a checkpoint of a VM goes to. NO_SPACE where no cache is open, BAD_CONFIG where the host has no directory on storage. */
export function placeFor(plane: ControlPlane, vm: VmRecord, to: CheckpointDestination): CheckpointPlace {
  return to === 'local' ? { cache: cacheFor(plane, vm) } : { directory: storageDirectory(plane) }
}

/** The directory of this host's checkpoints on storage. BAD_CONFIG where none is configured. */
export function storageDirectory(plane: ControlPlane): string {
  const directory = ownDirectory(plane)
  if (directory !== null) return directory
  throw new VmcacheError('BAD_CONFIG', 'no memory of VMs can go to storage: checkpoint-dir is not set', {
    hint: 'name a directory there as checkpoint-dir in the configuration file, then: vmcache engine restart',
  })
}

/** The same, in the one that is configured, which hosts may share; null where none is. */
export function ownDirectory({ checkpointDirectory, host }: ControlPlane): string | null {
  return checkpointDirectory === null ? null : `${checkpointDirectory.replace(/\/+$/, '')}/${host.id}`
}

export function isAt(place: CheckpointPlace, destination: CheckpointDestination): boolean {
  return 'cache' in place === (destination === 'local')
}
