import type { Kysely, Selectable } from 'kysely'
import type { JobDocument } from '../protocol/control/documents.js'
import type { Schema } from './schema.js'

export interface JobRecord extends JobDocument {
  readonly host: string
  readonly who: string
  /** The request that it carries out, so that a repeated one can join it. */
  readonly request: unknown
}

export interface JobStore {
  /** Adds the job, or replaces what is known of it. */
  save(job: JobRecord): Promise<void>
  find(id: string): Promise<JobRecord | null>
  /** Newest first. */
  list(host: string, options?: { state?: JobDocument['state']; limit?: number }): Promise<JobRecord[]>
  /** Forgets jobs of the host that ended before `at`. */
  deleteEndedBefore(host: string, at: string): Promise<void>
}

export function jobStore(db: Kysely<Schema>): JobStore {
  return {
    async save(job) {
      const row = {
        ...job,
        request: JSON.stringify(job.request),
        progress: JSON.stringify(job.progress),
        result: JSON.stringify(job.result ?? null),
        error: JSON.stringify(job.error),
      }
      await db
        .insertInto('job')
        .values(row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
        .execute()
    },
    async find(id) {
      const row = await db.selectFrom('job').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : recordOf(row)
    },
    async list(host, { state, limit } = {}) {
      let query = db.selectFrom('job').selectAll().where('host', '=', host).orderBy('createdAt', 'desc').orderBy('id')
      if (state !== undefined) query = query.where('state', '=', state)
      if (limit !== undefined) query = query.limit(limit)
      return (await query.execute()).map(recordOf)
    },
    async deleteEndedBefore(host, at) {
      await db.deleteFrom('job').where('host', '=', host).where('endedAt', '<', at).execute()
    },
  }
}

function recordOf(row: Selectable<Schema['job']>): JobRecord {
  return {
    ...row,
    state: row.state as JobDocument['state'],
    request: JSON.parse(row.request),
    progress: JSON.parse(row.progress) as JobDocument['progress'],
    result: JSON.parse(row.result),
    error: JSON.parse(row.error) as JobDocument['error'],
  }
}
