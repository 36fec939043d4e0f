import type { Kysely, Selectable } from 'kysely'
import type { Mode } from '../model/mode.js'
import type { DestageBarrier, DestageOrder, WriteBackSettings } from '../model/write-back.js'
import type { Schema } from './schema.js'

export interface OwningVm {
  readonly uuid: string
  /** `vda`. */
  readonly target: string
}

/** An attachment that is wanted: it holds over restarts of VM, engine and host until it is detached. */
export interface DiskRecord {
  readonly host: string
  readonly name: string
  readonly cache: string
  readonly logId: string
  /** Canonical: an absolute path, or an NBD URI. */
  readonly origin: string
  /** Key of the origin's lease; null until the origin was seen. */
  readonly lease: string | null
  readonly socket: string
  readonly mode: Mode
  readonly replacement: string
  readonly minBytes: number
  readonly maxBytes: number | null
  readonly shares: number
  readonly writeBack: WriteBackSettings
  readonly readOnly: boolean
  readonly exclusive: boolean
  readonly blockBytes: number
  /** The VM whose disk it is; null for one that any client may use. */
  readonly vm: OwningVm | null
  readonly createdAt: string
}

export interface DiskStore {
  /** Adds the disk, or replaces what is known of it. */
  save(disk: DiskRecord): Promise<void>
  delete(host: string, name: string): Promise<void>
  list(host: string): Promise<DiskRecord[]>
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

function rowOf({ writeBack, vm, ...disk }: DiskRecord): Selectable<Schema['disk']> {
  const { order, barrier, ...limits } = writeBack
  const truths = { readOnly: Number(disk.readOnly), exclusive: Number(disk.exclusive) }
  const owner = { vm: vm?.uuid ?? null, target: vm?.target ?? null }
  return { ...disk, ...truths, ...limits, ...owner, destageOrder: order, destageBarrier: barrier }
}

function recordOf(row: Selectable<Schema['disk']>): DiskRecord {
  const { destageOrder, destageBarrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds, vm, target, ...disk } = row
  const order = destageOrder as DestageOrder
  const barrier = destageBarrier as DestageBarrier
  return {
    ...disk,
    mode: row.mode as Mode,
    readOnly: row.readOnly === 1,
    exclusive: row.exclusive === 1,
    vm: vm === null || target === null ? null : { uuid: vm, target },
    writeBack: { order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds },
  }
}
