import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Hosts, caches, disks, leases, tenures, jobs and events. */
export async function start(db: Kysely<unknown>, dialect: DialectName): Promise<void> {
  const integer = dialect === 'sqlite' ? 'integer' : 'bigint'

  await db.schema
    .createTable('host')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('seen_at', 'text', (column) => column.notNull())
    .execute()

  await db.schema
    .createTable('cache')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('cache_id', 'text', (column) => column.notNull().unique())
    .addColumn('block_bytes', integer, (column) => column.notNull())
    .addColumn('chunk_bytes', integer, (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('cache_key', ['host', 'name'])
    .execute()

  await db.schema
    .createTable('cache_device')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('cache', 'text', (column) => column.notNull())
    .addColumn('position', integer, (column) => column.notNull())
    .addColumn('device_id', 'text', (column) => column.notNull())
    .addColumn('path', 'text', (column) => column.notNull())
    .addColumn('size_bytes', integer, (column) => column.notNull())
    .addColumn('chunks', integer, (column) => column.notNull())
    .addPrimaryKeyConstraint('cache_device_key', ['host', 'cache', 'position'])
    .addForeignKeyConstraint('cache_device_cache', ['host', 'cache'], 'cache', ['host', 'name'], (key) =>
      key.onDelete('cascade'),
    )
    .execute()

  await db.schema
    .createTable('disk')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('cache', 'text', (column) => column.notNull())
    .addColumn('log_id', 'text', (column) => column.notNull())
    .addColumn('origin', 'text', (column) => column.notNull())
    .addColumn('lease', 'text')
    .addColumn('socket', 'text', (column) => column.notNull())
    .addColumn('mode', 'text', (column) => column.notNull())
    .addColumn('replacement', 'text', (column) => column.notNull())
    .addColumn('min_bytes', integer, (column) => column.notNull())
    .addColumn('max_bytes', integer)
    .addColumn('shares', integer, (column) => column.notNull())
    .addColumn('read_only', integer, (column) => column.notNull())
    .addColumn('exclusive', integer, (column) => column.notNull())
    .addColumn('block_bytes', integer, (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('disk_key', ['host', 'name'])
    .addForeignKeyConstraint('disk_cache', ['host', 'cache'], 'cache', ['host', 'name'])
    .execute()

  await db.schema
    .createTable('lease')
    .addColumn('origin', 'text', (column) => column.primaryKey())
    .addColumn('host', 'text')
    .addColumn('disk', 'text')
    .addColumn('epoch', integer, (column) => column.notNull())
    .addColumn('changed_at', 'text', (column) => column.notNull())
    .execute()

  await db.schema
    .createTable('tenure')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('disk', 'text', (column) => column.notNull())
    .addColumn('origin', 'text', (column) => column.notNull())
    .addColumn('stamp_id', 'text')
    .addColumn('epoch', integer, (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('size_bytes', integer, (column) => column.notNull())
    .addColumn('inode', 'text')
    .addColumn('modified_at', 'text')
    .addColumn('clock_ahead', 'text', (column) => column.notNull())
    .addColumn('ending', 'text', (column) => column.notNull())
    .addColumn('ended_at', 'text')
    .addColumn('held', integer, (column) => column.notNull())
    .addPrimaryKeyConstraint('tenure_key', ['host', 'disk'])
    .execute()

  await db.schema
    .createTable('job')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('object', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('who', 'text', (column) => column.notNull())
    .addColumn('request', 'text', (column) => column.notNull())
    .addColumn('progress', 'text', (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('ended_at', 'text')
    .addColumn('result', 'text', (column) => column.notNull())
    .addColumn('error', 'text', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('job_by_time').on('job').columns(['host', 'created_at']).execute()

  await db.schema
    .createTable('event')
    .addColumn('id', integer, (column) =>
      dialect === 'sqlite' ? column.primaryKey().autoIncrement() : column.generatedByDefaultAsIdentity().primaryKey(),
    )
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('at', 'text', (column) => column.notNull())
    .addColumn('what', 'text', (column) => column.notNull())
    .addColumn('why', 'text')
    .addColumn('who', 'text', (column) => column.notNull())
    .addColumn('result', 'text', (column) => column.notNull())
    .addColumn('vm', 'text')
    .addColumn('disk', 'text')
    .addColumn('cache', 'text')
    .execute()
  await db.schema.createIndex('event_by_time').on('event').columns(['host', 'at']).execute()
}
