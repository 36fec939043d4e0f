import { sql, type Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** Checkpoints of suspended VMs, one for each VM, and what is wanted of VMs; nothing is of those of before. */
export async function checkpoints(db: Kysely<unknown>, dialect: DialectName): Promise<void> {
  const integer = dialect === 'sqlite' ? 'integer' : 'bigint'
  await db.schema
    .createTable('checkpoint')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('vm', 'text', (column) => column.notNull())
    .addColumn('cache', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('bytes', integer, (column) => column.notNull())
    .addColumn('stored_bytes', integer, (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('why', 'text', (column) => column.notNull())
    .addColumn('qemu', 'text', (column) => column.notNull())
    .addColumn('disks', 'text', (column) => column.notNull())
    .addUniqueConstraint('checkpoint_vm', ['host', 'vm'])
    .execute()
  await db.schema
    .alterTable('vm')
    .addColumn('policy', 'text', (column) => column.notNull().defaultTo(sql`'{}'`))
    .execute()
}
