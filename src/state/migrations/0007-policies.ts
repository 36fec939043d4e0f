import { sql, type Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'

interface Before {
  disk: {
    host: string
    name: string
    mode: string
    replacement: string
    minBytes: number
    maxBytes: number | null
    shares: number
    destageOrder: string
    destageBarrier: string
    dirtyLowBytes: number | null
    dirtyHighBytes: number | null
    dirtyAgeSeconds: number
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
  for (const { host, name, ...row } of await before.selectFrom('disk').selectAll().execute()) {
    const { mode, replacement, minBytes, maxBytes, shares, destageOrder, destageBarrier } = row
    const { dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds } = row
    const settings = JSON.stringify({
      ...{ mode, replacement, minBytes, maxBytes, shares, destageOrder, destageBarrier },
      ...{ dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds },
    })
    await before.insertInto('policy').values({ host, level: 'disk', object: name, settings }).execute()
  }
  for (const { host, uuid, policy } of await before.selectFrom('vm').selectAll().execute()) {
    if (policy === '{}') continue
    await before.insertInto('policy').values({ host, level: 'vm', object: uuid, settings: policy }).execute()
  }
  for (const column of DISK_COLUMNS) await sql`alter table disk drop column ${sql.ref(column)}`.execute(db)
  await sql`alter table vm drop column policy`.execute(db)
}
