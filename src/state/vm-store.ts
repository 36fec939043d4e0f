import type { Kysely, Selectable } from 'kysely'
import type { DriverName, VmDefinition } from '../model/vm.js'
import { DEFAULT_VM_POLICY, type VmPolicy } from '../model/vm-policy.js'
import type { Schema } from './schema.js'

/** A VM that vmcache runs, or whose disks it may serve. */
export interface VmRecord {
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
  readonly policy: VmPolicy
  readonly createdAt: string
}

export interface VmStore {
  /** Adds the VM, or replaces what is known of it. */
  save(vm: VmRecord): Promise<void>
  delete(host: string, uuid: string): Promise<void>
  list(host: string): Promise<VmRecord[]>
}

export function vmStore(db: Kysely<Schema>): VmStore {
  return {
    async save(vm) {
      const definition = vm.definition === null ? null : JSON.stringify(vm.definition)
      const row = { ...vm, definition, policy: JSON.stringify(vm.policy) }
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

function recordOf(row: Selectable<Schema['vm']>): VmRecord {
  return {
    ...row,
    driver: row.driver as DriverName,
    definition: row.definition === null ? null : (JSON.parse(row.definition) as VmDefinition),
    policy: { ...DEFAULT_VM_POLICY, ...(JSON.parse(row.policy) as Partial<VmPolicy>) },
  }
}
