import { chmod, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SqliteDialect } from 'kysely'
import { VmcacheError } from '../base/errors.js'
import type { OpenDialect } from './dialect.js'

/** A database that another process has locked is waited for this long; the engine's main thread stands still meanwhile. */
const BUSY_MILLISECONDS = 1000

/** Opens (or creates) the SQLite file at `path`; the library is loaded here, as only engines need it. */
export async function openSqlite(path: string): Promise<OpenDialect> {
  const { default: Database } = await import('libsql')
  const label = `sqlite:${path}`
  if (!(await exists(dirname(path)))) {
    throw new VmcacheError('FAILED', `state database ${label}: the directory ${dirname(path)} does not exist`, {
      hint: `create it, or name another state directory`,
    })
  }
  const existed = await exists(path)
  const database = new Database(path, { timeout: BUSY_MILLISECONDS })
  // The names of images and hosts are nobody else's business.
  if (!existed) await chmod(path, 0o600)
  return {
    name: 'sqlite',
    label,
    dialect: new SqliteDialect({ database }),
    claim: async () => {
      const [{ quick_check: verdict }] = database.prepare('pragma quick_check(1)').all() as [{ quick_check: string }]
      if (verdict !== 'ok') throw Object.assign(new Error(verdict), { code: 'SQLITE_CORRUPT' })
      // An operation that was answered survives a power cut: FULL syncs the log of a WAL database at every commit.
      database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on')
    },
    release: async () => {
      // Leaves one complete file behind, for copies: the library itself closes it only at the next garbage collection.
      database.exec('pragma wal_checkpoint(truncate)')
    },
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
