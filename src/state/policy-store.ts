import type { Kysely } from 'kysely'
import type { Level, Policy } from '../model/policy.js'
import type { Schema } from './schema.js'

/** What is set of one disk, VM or cache, or of the host itself. */
export interface PolicyRecord {
  readonly host: string
  readonly level: Level
  /** Name of a disk or cache, UUID of a VM; empty for the host. */
  readonly object: string
  readonly policy: Policy
}

export interface PolicyStore {
  /** Replaces what is set of the object; where that is nothing any more the object has no record. */
  save(record: PolicyRecord): Promise<void>
  delete(host: string, level: Level, object: string): Promise<void>
  list(host: string): Promise<PolicyRecord[]>
}

export function policyStore(db: Kysely<Schema>): PolicyStore {
  const store: PolicyStore = {
    async save({ host, level, object, policy }) {
      if (Object.keys(policy).length === 0) return store.delete(host, level, object)
      const row = { host, level, object, settings: JSON.stringify(policy) }
      await db
        .insertInto('policy')
        .values(row)
        .onConflict((conflict) => conflict.columns(['host', 'level', 'object']).doUpdateSet(row))
        .execute()
    },
    async delete(host, level, object) {
      await db
        .deleteFrom('policy')
        .where('host', '=', host)
        .where('level', '=', level)
        .where('object', '=', object)
        .execute()
    },
    async list(host) {
      const rows = await db
        .selectFrom('policy')
        .selectAll()
        .where('host', '=', host)
        .orderBy('level')
        .orderBy('object')
        .execute()
      return rows.map(({ level, object, settings }) => ({
        host,
        level: level as Level,
        object,
        policy: JSON.parse(settings) as Policy,
      }))
    },
  }
  return store
}
