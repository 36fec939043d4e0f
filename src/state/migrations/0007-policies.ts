import { sql, type Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

/** The tables as this step finds them. */
interface Before {
  disk: {
    host: string
    name: string
    mode: string
    replacement: string
    min_bytes: number
    max_bytes: number | null
    shares: number
    destage_order: string
    destage_barrier: string
    dirty_low_bytes: number | null
    dirty_high_bytes: number | null
    dirty_age_seconds: number
  }
  vm: { host: string; uuid: string; policy: string }
  policy: { host: string; level: string; object: string; settings: string }
}

const DISK_COLUMNS = [
  ...['mode', 'replacement', 'min_bytes', 'max_bytes', 'shares', 'destage_order', 'destage_barrier'],
  ...['dirty_low_bytes', 'dirty_high_bytes', 'dirty_age_seconds'],
]

/**
 * What is wanted is kept where it was set: of a disk, a VM, a cache or the host. What disks and VMs had was set of themselves, so nothing
 * changes for them.
 */
export async function policies(db: Kysely<unknown>, _dialect: DialectName): Promise<void> {
  await db.schema
    .createTable('policy')
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('level', 'text', (column) => column.notNull())
    .addColumn('object', 'text', (column) => column.notNull())
    .addColumn('settings', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('policy_key', ['host', 'level', 'object'])
    .execute()
  const before = db as Kysely<Before>
  for (const row of await before.selectFrom('disk').selectAll().execute()) {
    const settings = JSON.stringify({
      ...{ mode: row.mode, replacement: row.replacement, shares: row.shares },
      ...{ minBytes: row.min_bytes, maxBytes: row.max_bytes },
      ...{ destageOrder: row.destage_order, destageBarrier: row.destage_barrier },
      ...{ dirtyLowBytes: row.dirty_low_bytes, dirtyHighBytes: row.dirty_high_bytes },
      dirtyAgeSeconds: row.dirty_age_seconds,
    })
    await before.insertInto('policy').values({ host: row.host, level: 'disk', object: row.name, settings }).execute()
  }
  for (const { host, uuid, policy } of await before.selectFrom('vm').selectAll().execute()) {
    if (policy === '{}') continue
    await before.insertInto('policy').values({ host, level: 'vm', object: uuid, settings: policy }).execute()
  }
  for (const column of DISK_COLUMNS) await sql`alter table disk drop column ${sql.ref(column)}`.execute(db)
  await sql`alter table vm drop column policy`.execute(db)
}
