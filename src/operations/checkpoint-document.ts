import type { EngineCheckpoint } from '../engine/checkpoint.js'
import type { CheckpointDocument } from '../protocol/control/documents.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { ControlPlane } from './control-plane.js'

/** Every checkpoint that is on record, and those that caches have without one: by VM, then by age. */
export async function checkpointDocuments(plane: ControlPlane): Promise<CheckpointDocument[]> {
  const { engine, inventory } = plane
  const open = engine.caches().map(({ name }) => name)
  const kept = await Promise.all(
    open.map(async (cache) =>
      (await engine.checkpoints(cache).catch(() => [])).map((checkpoint) => ({ cache, checkpoint })),
    ),
  )
  const found = new Map(kept.flat().map((entry) => [entry.checkpoint.id, entry]))
  const recorded = [...inventory.checkpoints.values()].map((record) => {
    const isOpen = open.includes(record.cache)
    const damage = damageOf(record, isOpen, found.get(record.id)?.checkpoint)
    found.delete(record.id)
    return recordedDocument(plane, record, damage)
  })
  const unrecorded = [...found.values()].map(({ cache, checkpoint }) => unrecordedDocument(plane, cache, checkpoint))
  return [...recorded, ...unrecorded].sort((a, b) => compare(a.vm, b.vm) || compare(a.createdAt, b.createdAt))
}

function damageOf(
  { cache, state }: CheckpointRecord,
  isOpen: boolean,
  kept: EngineCheckpoint | undefined,
): string | null {
  if (!isOpen) return `cache ${cache} is not open`
  if (kept !== undefined) return kept.damage
  return state === 'suspended' || state === 'resuming' ? `cache ${cache} does not have it` : null
}

function recordedDocument(
  { host, inventory }: ControlPlane,
  record: CheckpointRecord,
  damage: string | null,
): CheckpointDocument {
  const { id, vm: uuid, cache, state, bytes, storedBytes, createdAt, why, qemu, disks } = record
  const vm = inventory.vms.get(uuid)?.name ?? uuid
  return {
    ...{ id, vm, uuid, host: host.name, cache, location: 'local', state, bytes, storedBytes, createdAt, why },
    ...{ qemu, disks: disks.map(({ target, path }) => ({ target, path })), damage },
  }
}

function unrecordedDocument({ host }: ControlPlane, cache: string, kept: EngineCheckpoint): CheckpointDocument {
  const { id, vm: uuid, name: vm, bytes, storedBytes, createdAt, damage } = kept
  return {
    ...{ id, vm, uuid, host: host.name, cache, location: 'local', state: 'unrecorded', bytes, storedBytes, createdAt },
    ...{ why: null, qemu: null, disks: [], damage },
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
