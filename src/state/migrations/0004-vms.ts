import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** VMs, and which of their disks an attachment is for. What was attached before belongs to none. */
export async function vms(db: Kysely<unknown>, _dialect: DialectName): Promise<void> {
  await db.schema
    .createTable('vm')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('uuid', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('driver', 'text', (column) => column.notNull())
    .addColumn('connect', 'text')
    .addColumn('definition', 'text')
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('vm_key', ['host', 'uuid'])
    .addUniqueConstraint('vm_name', ['host', 'name'])
    .execute()
  await db.schema.alterTable('disk').addColumn('vm', 'text').execute()
  await db.schema.alterTable('disk').addColumn('target', 'text').execute()
}
