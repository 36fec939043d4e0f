import { sql, type Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Tenures remember whether the origin may lack writes. Write-back did not exist before: no origin does. */
export async function lacksWrites(db: Kysely<unknown>, dialect: DialectName): Promise<void> {
  await db.schema
    .alterTable('tenure')
    .addColumn('lacks_writes', dialect === 'sqlite' ? 'integer' : 'bigint', (column) =>
      column.notNull().defaultTo(sql`0`),
    )
    .execute()
}
