import type { Kysely } from 'kysely'
import type { EventDocument } from '../protocol/control/documents.js'
import type { Schema } from './schema.js'

export interface EventQuery {
  /** Null: all. */
  readonly sinceAt: string | null
  readonly vm: string | null
  readonly disk: string | null
}

export interface EventStore {
  append(host: string, event: EventDocument): Promise<void>
  /** Oldest first. */
  list(host: string, query: EventQuery): Promise<EventDocument[]>
  deleteBefore(host: string, at: string): Promise<void>
}

export function eventStore(db: Kysely<Schema>): EventStore {
  return {
    async append(host, event) {
      await db
        .insertInto('event')
        .values({ host, ...event })
        .execute()
    },
    async list(host, { sinceAt, vm, disk }) {
      let query = db
        .selectFrom('event')
        .select(['at', 'what', 'why', 'who', 'result', 'vm', 'disk', 'cache'])
        .where('host', '=', host)
        .orderBy('at')
        .orderBy('id')
      if (sinceAt !== null) query = query.where('at', '>=', sinceAt)
      if (vm !== null) query = query.where('vm', '=', vm)
      if (disk !== null) query = query.where('disk', '=', disk)
      return query.execute()
    },
    async deleteBefore(host, at) {
      await db.deleteFrom('event').where('host', '=', host).where('at', '<', at).execute()
    },
  }
}
