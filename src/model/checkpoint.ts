/**
 * `suspending`: the VM is stopped, and goes on if this does not end well; `suspended`: its memory is in the checkpoint, and nowhere else;
 * `resuming`: it is being loaded into a VM that has not begun; `consumed`: that VM may have begun, so it is never loaded again.
 */
export type CheckpointState = 'suspending' | 'suspended' | 'resuming' | 'consumed'

/** Where a checkpoint is: in chunks of a cache, or in a file of a directory. */
export type CheckpointPlace = { readonly cache: string } | { readonly directory: string }

/** Where people want checkpoints: `local`, in a cache of the host; `storage`, in the directory that its configuration names. */
export const CHECKPOINT_DESTINATIONS = ['local', 'storage'] as const
export type CheckpointDestination = (typeof CHECKPOINT_DESTINATIONS)[number]

/** A place as documents show it: one of `cache` and `path` is null. */
export interface ShownPlace {
  cache: string | null
  location: 'cache' | 'storage'
  /** Of its file. */
  path: string | null
}

export function shownPlace(place: CheckpointPlace, id: string): ShownPlace {
  return 'cache' in place
    ? { cache: place.cache, location: 'cache', path: null }
    : { cache: null, location: 'storage', path: checkpointPath(place.directory, id) }
}

/** For messages: `cache fast`, `file /srv/checkpoints/...`. */
export function placeText(place: CheckpointPlace, id: string): string {
  return 'cache' in place ? `cache ${place.cache}` : `file ${checkpointPath(place.directory, id)}`
}

/** The file of a checkpoint that is in a directory. */
export function checkpointPath(directory: string, id: string): string {
  return `${directory}/${id}.checkpoint`
}

/** The id of the checkpoint that a file is called after; undefined for other files. */
export function checkpointOfFile(name: string): string | undefined {
  return /^([0-9a-f]{32})\.checkpoint$/.exec(name)?.[1]
}
