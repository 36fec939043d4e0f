import { sql, type Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Disks remember how what is dirty goes to their origins; those of before get what was the default then. */
export async function writeBack(db: Kysely<unknown>, dialect: DialectName): Promise<void> {
  const integer = dialect === 'sqlite' ? 'integer' : 'bigint'
  // One column a statement: SQLite adds no more.
  await db.schema
    .alterTable('disk')
    .addColumn('destage_order', 'text', (column) => column.notNull().defaultTo('ordered'))
    .execute()
  await db.schema
    .alterTable('disk')
    .addColumn('destage_barrier', 'text', (column) => column.notNull().defaultTo('flush'))
    .execute()
  await db.schema.alterTable('disk').addColumn('dirty_low_bytes', integer).execute()
  await db.schema.alterTable('disk').addColumn('dirty_high_bytes', integer).execute()
  await db.schema
    .alterTable('disk')
    .addColumn('dirty_age_seconds', integer, (column) => column.notNull().defaultTo(sql`10`))
    .execute()
}
