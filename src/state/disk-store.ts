import type { Kysely, Selectable } from 'kysely'
import type { DiskPolicy } from '../model/policy.js'
import type { Schema } from './schema.js'

export interface OwningVm {
  readonly uuid: string
  /** `vda`. */
  readonly target: string
}

/** An attachment that is wanted: it holds over restarts of VM, engine and host until it is detached. */
export interface StoredDisk {
  readonly host: string
  readonly name: string
  readonly cache: string
  readonly logId: string
  /** Canonical: an absolute path, or an NBD URI. */
  readonly origin: string
  /** Key of the origin's lease; null until the origin was seen. */
  readonly lease: string | null
  readonly socket: string
  readonly readOnly: boolean
  readonly exclusive: boolean
  readonly blockBytes: number
  /** The VM whose disk it is; null for one that any client may use. */
  readonly vm: OwningVm | null
  readonly createdAt: string
}

/** The same with how it is to be cached, which the policies of all levels say together. */
export type DiskRecord = StoredDisk & DiskPolicy

export interface DiskStore {
  /** Adds the disk, or replaces what is known of it. */
  save(disk: StoredDisk): Promise<void>
  delete(host: string, name: string): Promise<void>
  list(host: string): Promise<StoredDisk[]>
}

export function diskStore(db: Kysely<Schema>): DiskStore {
  return {
    async save(disk) {
      const row = rowOf(disk)
      await db
        .insertInto('disk')
        .values(row)
        .onConflict((conflict) => conflict.columns(['host', 'name']).doUpdateSet(row))
        .execute()
    },
    async delete(host, name) {
      await db.deleteFrom('disk').where('host', '=', host).where('name', '=', name).execute()
    },
    async list(host) {
      const rows = await db.selectFrom('disk').selectAll().where('host', '=', host).orderBy('name').execute()
      return rows.map(recordOf)
    },
  }
}

function rowOf(disk: StoredDisk): Selectable<Schema['disk']> {
  const { host, name, cache, logId, origin, lease, socket, blockBytes, vm, createdAt } = disk
  const truths = { readOnly: Number(disk.readOnly), exclusive: Number(disk.exclusive) }
  const owner = { vm: vm?.uuid ?? null, target: vm?.target ?? null }
  return { host, name, cache, logId, origin, lease, socket, ...truths, blockBytes, createdAt, ...owner }
}

function recordOf({ vm, target, ...row }: Selectable<Schema['disk']>): StoredDisk {
  return {
    ...row,
    readOnly: row.readOnly === 1,
    exclusive: row.exclusive === 1,
    vm: vm === null || target === null ? null : { uuid: vm, target },
  }
}
