import type { Kysely, Selectable } from 'kysely'
import type { CheckpointPlace, CheckpointState } from '../model/checkpoint.js'
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

/** The memory of a VM in the chunks of a cache, or in a file. */
export interface CheckpointRecord {
  /** 32 hexadecimal digits: what its place calls it. */
  readonly id: string
  readonly host: string
  /** UUID. */
  readonly vm: string
  /** Where it is, and counts. */
  readonly place: CheckpointPlace
  /** Where something of it may be that does not count, and is to be erased; null where nothing is. */
  readonly leftover: CheckpointPlace | null
  readonly state: CheckpointState
  /** Length of the stream; 0 until it is whole. */
  readonly bytes: number
  /** What it takes of its place. */
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
      const { place, leftover, qemu, disks, ...plain } = checkpoint
      const row = {
        ...plain,
        cache: 'cache' in place ? place.cache : NO_CACHE,
        directory: 'directory' in place ? place.directory : null,
        leftover: leftover === null ? null : JSON.stringify(leftover),
        qemu: JSON.stringify(qemu),
        disks: JSON.stringify(disks),
      }
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

/** The column is older than checkpoints that are in no cache. */
const NO_CACHE = ''

function recordOf({ cache, directory, ...row }: Selectable<Schema['checkpoint']>): CheckpointRecord {
  return {
    ...row,
    place: directory === null ? { cache } : { directory },
    leftover: row.leftover === null ? null : (JSON.parse(row.leftover) as CheckpointPlace),
    state: row.state as CheckpointState,
    qemu: JSON.parse(row.qemu) as CheckpointRecord['qemu'],
    disks: JSON.parse(row.disks) as SuspendedDisk[],
  }
}
