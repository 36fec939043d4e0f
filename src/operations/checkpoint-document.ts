import { dirname } from 'node:path'
import { placeText, shownPlace, type CheckpointPlace } from '../model/checkpoint.js'
import type { EngineCheckpoint } from '../engine/checkpoint.js'
import type { CheckpointDocument } from '../protocol/control/documents.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { ownDirectory } from './checkpoint-place.js'
import type { ControlPlane } from './control-plane.js'

/** What a place has, or why that cannot be seen. */
interface Look {
  readonly place: CheckpointPlace
  readonly kept: readonly EngineCheckpoint[]
  readonly failure: string | null
}

/** Every checkpoint that is on record, and those that caches and our directory have without one: by VM, then by age. */
export async function checkpointDocuments(plane: ControlPlane): Promise<CheckpointDocument[]> {
  const records = [...plane.inventory.checkpoints.values()]
  const looks = new Map((await Promise.all(placesOf(plane, records).map((place) => look(plane, place)))).map(keyed))
  const recorded = records.map((record) =>
    recordedDocument(plane, record, damageOf(record, looks.get(keyOf(record.place)))),
  )
  // What a move has not erased yet belongs to the one that counts.
  const known = new Set(records.map(({ id }) => id))
  const unrecorded = [...looks.values()].flatMap(({ place, kept }) =>
    kept.filter(({ id }) => !known.has(id)).map((checkpoint) => unrecordedDocument(plane, place, checkpoint)),
  )
  return [...recorded, ...unrecorded].sort((a, b) => compare(a.vm, b.vm) || compare(a.createdAt, b.createdAt))
}

/** The place that a document tells of. */
export function documentPlace({ cache, path }: CheckpointDocument): CheckpointPlace {
  return path === null ? { cache: cache! } : { directory: dirname(path) }
}

/** Each once: open caches, our directory, and directories that were ours when something was put there. */
function placesOf(plane: ControlPlane, records: readonly CheckpointRecord[]): CheckpointPlace[] {
  const own = ownDirectory(plane)
  const places: CheckpointPlace[] = [
    ...plane.engine.caches().map(({ name }) => ({ cache: name })),
    ...(own === null ? [] : [{ directory: own }]),
    ...records.flatMap(({ place }) => ('directory' in place ? [place] : [])),
  ]
  return [...new Map(places.map((place) => [keyOf(place), place])).values()]
}

async function look({ engine }: ControlPlane, place: CheckpointPlace): Promise<Look> {
  try {
    return { place, kept: await engine.checkpoints(place), failure: null }
  } catch (error) {
    return { place, kept: [], failure: asVmcacheError(error).message }
  }
}

function keyed(found: Look): [string, Look] {
  return [keyOf(found.place), found]
}

function keyOf(place: CheckpointPlace): string {
  return 'cache' in place ? `cache ${place.cache}` : `directory ${place.directory}`
}

function damageOf({ id, place, state }: CheckpointRecord, found: Look | undefined): string | null {
  if (found === undefined) return `${keyOf(place)} is not open`
  if (found.failure !== null) return found.failure
  const kept = found.kept.find((checkpoint) => checkpoint.id === id)
  if (kept !== undefined) return kept.damage
  if (state !== 'suspended' && state !== 'resuming') return null
  return 'cache' in place ? `cache ${place.cache} does not have it` : `${placeText(place, id)} is not there`
}

function recordedDocument(
  { host, inventory }: ControlPlane,
  record: CheckpointRecord,
  damage: string | null,
): CheckpointDocument {
  const { id, vm: uuid, place, state, bytes, storedBytes, createdAt, why, qemu, disks } = record
  const vm = inventory.vms.get(uuid)?.name ?? uuid
  return {
    ...{ id, vm, uuid, host: host.name, ...shownPlace(place, id), state, bytes, storedBytes, createdAt, why },
    ...{ qemu, disks: disks.map(({ target, path }) => ({ target, path })), damage },
  }
}

function unrecordedDocument(
  { host }: ControlPlane,
  place: CheckpointPlace,
  kept: EngineCheckpoint,
): CheckpointDocument {
  const { id, vm: uuid, name: vm, bytes, storedBytes, createdAt, damage } = kept
  return {
    ...{ id, vm, uuid, host: host.name, ...shownPlace(place, id), state: 'unrecorded', bytes, storedBytes, createdAt },
    ...{ why: null, qemu: null, disks: [], damage },
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
