import { PostgresDialect } from 'kysely'
import type { OpenDialect } from './dialect.js'

const CONNECT_MILLISECONDS = 5_000
const STATEMENT_MILLISECONDS = 10_000
const MAXIMUM_CONNECTIONS = 4
const INT8 = 20

/**
 * A pool of connections to the PostgreSQL server at `url` (`postgres://user@host/database`, or with `?host=/directory` a unix
 * socket); connects at the first query. `password` replaces one in the URL. The library is loaded here, as only engines need it.
 */
export async function openPostgresql(url: string, password: string | undefined): Promise<OpenDialect> {
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({
    connectionString: withPassword(url, password),
    max: MAXIMUM_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_MILLISECONDS,
    statement_timeout: STATEMENT_MILLISECONDS,
    query_timeout: 2 * STATEMENT_MILLISECONDS,
    application_name: 'vmcache',
    types: {
      getTypeParser: ((type: number, format?: 'text' | 'binary'): unknown =>
        type === INT8 ? safeInteger : pg.types.getTypeParser(type, format)) as typeof pg.types.getTypeParser,
    },
  })
  // A connection that breaks while idle leaves the pool; the next query opens another one or fails by itself.
  pool.on('error', () => {})
  return {
    name: 'postgresql',
    label: withPassword(url, undefined, true),
    dialect: new PostgresDialect({ pool }),
    claim: async () => {},
    release: async () => {},
  }
}

function withPassword(url: string, password: string | undefined, forget = false): string {
  const parsed = new URL(url)
  if (forget) parsed.password = ''
  if (password !== undefined) parsed.password = encodeURIComponent(password)
  return parsed.href
}

/** PostgreSQL sends int8 as text, as it may be larger than a number holds; ours never are. */
function safeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} is not an integer within 2^53`)
  return value
}
