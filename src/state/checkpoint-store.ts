import type { Kysely, Selectable } from 'kysely'
import type { CheckpointState } from '../model/checkpoint.js'
import type { Schema } from './schema.js'

/** A disk of a suspended VM, as its storage was seen after the last write. */
export interface SuspendedDisk {
  readonly target: string
  /** Path without links. */
  readonly path: string
  readonly kind: 'file' | 'block' | 'nbd'
  readonly sizeBytes: number | null
  /** Decimal; null where the storage has none. */
  readonly inode: string | null
  /** Nanoseconds since 1970 in the clock of the storage, decimal; null where it shows no times. */
  readonly modifiedAt: string | null
}

/** The memory of a VM in the chunks of a cache. */
export interface CheckpointRecord {
  /** 32 hexadecimal digits: what the cache calls it. */
  readonly id: string
  readonly host: string
  /** UUID. */
  readonly vm: string
  readonly cache: string
  readonly state: CheckpointState
  /** Length of the stream; 0 until it is whole. */
  readonly bytes: number
  /** What it takes of the cache. */
  readonly storedBytes: number
  readonly createdAt: string
  /** For people: `idle 1 h (policy)`. */
  readonly why: string
  /** What wrote the stream, and alone can load it. */
  readonly qemu: { readonly version: string; readonly machine: string }
  /** What the VM consisted of, in words of its driver; null where its definition does not change. */
  readonly definition: string | null
  /** None until the VM is suspended. */
  readonly disks: readonly SuspendedDisk[]
}

export interface CheckpointStore {
  /** Adds the checkpoint, or replaces what is known of it. */
  save(checkpoint: CheckpointRecord): Promise<void>
  delete(id: string): Promise<void>
  list(host: string): Promise<CheckpointRecord[]>
}

export function checkpointStore(db: Kysely<Schema>): CheckpointStore {
  return {
    async save(checkpoint) {
      const { qemu, disks } = checkpoint
      const row = { ...checkpoint, qemu: JSON.stringify(qemu), disks: JSON.stringify(disks) }
      await db
        .insertInto('checkpoint')
        .values(row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
        .execute()
    },
    async delete(id) {
      await db.deleteFrom('checkpoint').where('id', '=', id).execute()
    },
    async list(host) {
      const rows = await db.selectFrom('checkpoint').selectAll().where('host', '=', host).orderBy('createdAt').execute()
      return rows.map(recordOf)
    },
  }
}

function recordOf(row: Selectable<Schema['checkpoint']>): CheckpointRecord {
  return {
    ...row,
    state: row.state as CheckpointState,
    qemu: JSON.parse(row.qemu) as CheckpointRecord['qemu'],
    disks: JSON.parse(row.disks) as SuspendedDisk[],
  }
}
