import type { Kysely, Selectable } from 'kysely'
import type { DriverName, VmDefinition } from '../model/vm.js'
import type { VmPolicy } from '../model/vm-policy.js'
import type { Schema } from './schema.js'

/** A VM that vmcache runs, or whose disks it may serve. */
export interface StoredVm {
  readonly host: string
  /** Of a libvirt domain: its own. */
  readonly uuid: string
  /** Of a libvirt domain: what it was called when it was last seen. */
  readonly name: string
  readonly driver: DriverName
  /** URI of the hypervisor's connection; null for the driver's own. */
  readonly connect: string | null
  /** Null where another program has it. */
  readonly definition: VmDefinition | null
  readonly createdAt: string
}

/** The same with what is wanted of it, which its policy and that of its host say together. */
export type VmRecord = StoredVm & { readonly policy: VmPolicy }

export interface VmStore {
  /** Adds the VM, or replaces what is known of it. */
  save(vm: StoredVm): Promise<void>
  delete(host: string, uuid: string): Promise<void>
  list(host: string): Promise<StoredVm[]>
}

export function vmStore(db: Kysely<Schema>): VmStore {
  return {
    async save({ host, uuid, name, driver, connect, definition, createdAt }) {
      const text = definition === null ? null : JSON.stringify(definition)
      const row = { host, uuid, name, driver, connect, definition: text, createdAt }
      await db
        .insertInto('vm')
        .values(row)
        .onConflict((conflict) => conflict.columns(['host', 'uuid']).doUpdateSet(row))
        .execute()
    },
    async delete(host, uuid) {
      await db.deleteFrom('vm').where('host', '=', host).where('uuid', '=', uuid).execute()
    },
    async list(host) {
      const rows = await db.selectFrom('vm').selectAll().where('host', '=', host).orderBy('name').execute()
      return rows.map(recordOf)
    },
  }
}

function recordOf(row: Selectable<Schema['vm']>): StoredVm {
  return {
    ...row,
    driver: row.driver as DriverName,
    definition: row.definition === null ? null : (JSON.parse(row.definition) as VmDefinition),
  }
}
