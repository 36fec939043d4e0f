import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Checkpoints may be in files of a directory, and on their way. Those of before are in their caches. */
export async function checkpointPlaces(db: Kysely<unknown>, _dialect: DialectName): Promise<void> {
  // One column a statement: SQLite adds no more.
  await db.schema.alterTable('checkpoint').addColumn('directory', 'text').execute()
  await db.schema.alterTable('checkpoint').addColumn('leftover', 'text').execute()
}
