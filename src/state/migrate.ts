import { Migrator, type Kysely } from 'kysely'
import { messageOf, VmcacheError } from '../base/errors.js'
import type { OpenDialect } from './dialect.js'
import { MIGRATIONS } from './migrations/migrations.js'
import type { Schema } from './schema.js'

const MIGRATION_TABLE = 'vmcache_migration'
const LOCK_TABLE = 'vmcache_migration_lock'

/** Brings the schema of the database up to ours. Nothing is written before the database is known to be ours or empty. */
export async function migrate(db: Kysely<Schema>, opened: OpenDialect): Promise<void> {
  await refuseForeign(db, opened)
  await opened.claim()
  // Kysely's migrator takes a lock, so two engines that start at once on one PostgreSQL do not both migrate.
  const migrator = new Migrator({
    db: db.withoutPlugins(),
    provider: {
      getMigrations: async () =>
        Object.fromEntries(
          MIGRATIONS.map(({ name, up }) => [name, { up: (transaction) => up(transaction, opened.name) }]),
        ),
    },
    migrationTableName: MIGRATION_TABLE,
    migrationLockTableName: LOCK_TABLE,
  })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error instanceof Error ? error : new Error(messageOf(error))
  // Deletes nothing, and fails where nothing could be written: a file without permission, a standby server.
  await db.deleteFrom('event').where('at', '<', '').execute()
}

async function refuseForeign(db: Kysely<Schema>, { name: dialect, label }: OpenDialect): Promise<void> {
  const tables = (await db.introspection.getTables({ withInternalKyselyTables: true })).map((table) => table.name)
  if (tables.includes(MIGRATION_TABLE)) return refuseNewer(db, label)
  // Somebody's file is never shared; a PostgreSQL database may hold other tables, as long as none is called like ours.
  const foreign = dialect === 'sqlite' ? tables : tables.filter((table) => OUR_TABLES.has(table))
  if (foreign.length === 0) return
  throw new VmcacheError(
    'REFUSED',
    `state database ${label} belongs to another program: it has the table ${foreign[0]}`,
    {
      hint: 'name an empty or new database; this one was left as it is',
    },
  )
}

const OUR_TABLES = new Set([
  'host',
  'cache',
  'cache_device',
  'disk',
  'lease',
  'tenure',
  'job',
  'event',
  'vm',
  'checkpoint',
  'policy',
])

async function refuseNewer(db: Kysely<Schema>, label: string): Promise<void> {
  const rows = await db
    .withoutPlugins()
    .withTables<{ vmcache_migration: { name: string } }>()
    .selectFrom(MIGRATION_TABLE)
    .select('name')
    .orderBy('name')
    .execute()
  const known = new Set(MIGRATIONS.map(({ name }) => name))
  const newer = rows.findLast(({ name }) => !known.has(name))
  if (newer === undefined) return
  throw new VmcacheError(
    'WRONG_STATE',
    `state database ${label} has schema ${newer.name}, this vmcache knows up to ${MIGRATIONS.at(-1)!.name}`,
    { hint: 'run the vmcache that wrote it, or a newer one' },
  )
}
