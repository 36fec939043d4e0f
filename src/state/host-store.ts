import type { Kysely } from 'kysely'
import type { Schema } from './schema.js'

export interface HostRecord {
  /** 32 hexadecimal digits, made once for a machine. */
  readonly id: string
  /** A label. */
  readonly name: string
  readonly seenAt: string
}

export interface HostStore {
  save(host: HostRecord): Promise<void>
  list(): Promise<HostRecord[]>
}

export function hostStore(db: Kysely<Schema>): HostStore {
  return {
    async save(host) {
      await db
        .insertInto('host')
        .values(host)
        .onConflict((conflict) => conflict.column('id').doUpdateSet({ name: host.name, seenAt: host.seenAt }))
        .execute()
    },
    list: () => db.selectFrom('host').selectAll().orderBy('name').execute(),
  }
}
