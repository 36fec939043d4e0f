import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** What a suspended VM consisted of. Those that were suspended before have definitions that do not change. */
export async function checkpointDefinition(db: Kysely<unknown>, _dialect: DialectName): Promise<void> {
  await db.schema.alterTable('checkpoint').addColumn('definition', 'text').execute()
}
