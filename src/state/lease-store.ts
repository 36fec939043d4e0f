import type { Kysely } from 'kysely'
import type { Schema } from './schema.js'

/** Who may write an origin. */
export interface LeaseRecord {
  /** Key of the origin: the same on every host that reaches it. */
  readonly origin: string
  /** Id of the host that holds it; null: nobody, and the row stays for its epoch. */
  readonly host: string | null
  readonly disk: string | null
  /** Rises with every change of hands, and is never used twice. */
  readonly epoch: number
  readonly changedAt: string
}

export interface LeaseStore {
  find(origin: string): Promise<LeaseRecord | null>
  /** Of one host, or (null) all that ever were. */
  list(host: string | null): Promise<LeaseRecord[]>
  /**
   * Makes `next` the lease of its origin if host and epoch are still those of `expected` (null: there is none yet); false, and
   * nothing is changed, where somebody else was faster.
   */
  compareAndSet(expected: Pick<LeaseRecord, 'host' | 'epoch'> | null, next: LeaseRecord): Promise<boolean>
}

export function leaseStore(db: Kysely<Schema>): LeaseStore {
  return {
    async find(origin) {
      return (await db.selectFrom('lease').selectAll().where('origin', '=', origin).executeTakeFirst()) ?? null
    },
    list: (host) =>
      db
        .selectFrom('lease')
        .selectAll()
        .$if(host !== null, (query) => query.where('host', '=', host))
        .orderBy('origin')
        .execute(),
    async compareAndSet(expected, next) {
      if (expected === null) {
        const inserted = await db
          .insertInto('lease')
          .values(next)
          .onConflict((conflict) => conflict.column('origin').doNothing())
          .executeTakeFirst()
        return inserted.numInsertedOrUpdatedRows === 1n
      }
      const { origin, ...changes } = next
      const updated = await db
        .updateTable('lease')
        .set(changes)
        .where('origin', '=', origin)
        .where('epoch', '=', expected.epoch)
        .where('host', 'is not distinct from', expected.host)
        .executeTakeFirst()
      return updated.numUpdatedRows === 1n
    },
  }
}
