import type { Kysely, Selectable } from 'kysely'
import type { Schema } from './schema.js'

/** How the time in which a disk's origin was written by this host alone came to its end; `open`: it goes on, or nobody knows yet. */
export type TenureEnding = 'open' | 'clean' | 'killed' | 'lost' | 'power-cut'

/** What is remembered of an origin, to find out whether somebody else can have written it since. */
export interface TenureRecord {
  readonly host: string
  readonly disk: string
  /** Key of the origin's lease. */
  readonly origin: string
  /** Null where the origin carries no stamp. */
  readonly stampId: string | null
  readonly epoch: number
  readonly kind: 'file' | 'block' | 'nbd'
  readonly sizeBytes: number
  /** Decimal; null where the origin has none. */
  readonly inode: string | null
  /**
   * When the origin was written last, as it was seen at a clean end, else at the beginning: nanoseconds since 1970 in the origin's
   * clock, decimal; null where it shows no times.
   */
  readonly modifiedAt: string | null
  /** Nanoseconds, decimal, by which the origin's clock is ahead of this host's. */
  readonly clockAhead: string
  readonly ending: TenureEnding
  /** RFC 3339, in this host's clock; null while open, and where nobody saw the end. */
  readonly endedAt: string | null
  /** Whether one supervisor has held the disk's socket and locks from the beginning until now. */
  readonly held: boolean
  /** Whether the disk's log may hold writes that the origin lacks; written down before the first, and with the stamp. */
  readonly lacksWrites: boolean
}

export interface TenureStore {
  /** Adds the tenure of a disk, or replaces what is known of it. */
  save(tenure: TenureRecord): Promise<void>
  delete(host: string, disk: string): Promise<void>
  list(host: string): Promise<TenureRecord[]>
}

export function tenureStore(db: Kysely<Schema>): TenureStore {
  return {
    async save(tenure) {
      const row = { ...tenure, held: Number(tenure.held), lacksWrites: Number(tenure.lacksWrites) }
      await db
        .insertInto('tenure')
        .values(row)
        .onConflict((conflict) => conflict.columns(['host', 'disk']).doUpdateSet(row))
        .execute()
    },
    async delete(host, disk) {
      await db.deleteFrom('tenure').where('host', '=', host).where('disk', '=', disk).execute()
    },
    async list(host) {
      const rows = await db.selectFrom('tenure').selectAll().where('host', '=', host).orderBy('disk').execute()
      return rows.map(recordOf)
    },
  }
}

function recordOf(row: Selectable<Schema['tenure']>): TenureRecord {
  return {
    ...row,
    kind: row.kind as TenureRecord['kind'],
    ending: row.ending as TenureEnding,
    held: row.held === 1,
    lacksWrites: row.lacksWrites === 1,
  }
}
