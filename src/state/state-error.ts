import { AssertionError } from '../base/assert.js'
import { messageOf, systemCode, VmcacheError } from '../base/errors.js'

interface Known {
  readonly code: 'CORRUPT' | 'DENIED' | 'FAILED'
  readonly says: string
  readonly hint: string
}

/** What a driver's error code means for the administrator. */
const KNOWN: Readonly<Record<string, Known>> = {
  SQLITE_NOTADB: {
    code: 'CORRUPT',
    says: 'is not an SQLite database',
    hint: 'it was left as it is; move it away, or name another file. Caches come back with: vmcache cache import --device PATH',
  },
  SQLITE_CORRUPT: {
    code: 'CORRUPT',
    says: 'is damaged',
    hint: 'put it back from a copy, or move it away; then: vmcache cache import --device PATH',
  },
  SQLITE_READONLY: {
    code: 'DENIED',
    says: 'cannot be written',
    hint: 'check the mode of the file and its file system',
  },
  SQLITE_CANTOPEN: { code: 'DENIED', says: 'cannot be opened', hint: 'check the path, its mode and its file system' },
  SQLITE_FULL: { code: 'FAILED', says: 'cannot grow: no space left', hint: 'free space on its file system' },
  SQLITE_BUSY: { code: 'FAILED', says: 'is locked by another process', hint: 'end what uses the file: fuser -v FILE' },
  SQLITE_IOERR: { code: 'FAILED', says: 'cannot be read or written', hint: 'check its storage: dmesg' },
  ECONNREFUSED: { code: 'FAILED', says: 'cannot be reached', hint: 'check that PostgreSQL runs and listens there' },
  ENOENT: { code: 'FAILED', says: 'cannot be reached', hint: 'check that PostgreSQL runs and listens there' },
  ETIMEDOUT: { code: 'FAILED', says: 'cannot be reached', hint: 'check the network, and that PostgreSQL runs' },
  ENOTFOUND: { code: 'FAILED', says: 'cannot be reached', hint: 'check the host name in the state URL' },
  '28P01': {
    code: 'DENIED',
    says: 'refuses the password',
    hint: 'check the user in the state URL and the password file',
  },
  '28000': { code: 'DENIED', says: 'refuses the user', hint: 'check the user in the state URL, and pg_hba.conf' },
  '3D000': { code: 'FAILED', says: 'does not exist', hint: 'create it: createdb NAME' },
  '42501': {
    code: 'DENIED',
    says: 'cannot be written',
    hint: 'grant the user CREATE on the schema, or make it its owner',
  },
  '25006': { code: 'DENIED', says: 'cannot be written', hint: 'name the primary server, not a standby' },
}

/** What a query of the database `label` threw, as an expected failure; bugs and what is translated already stay as they are. */
export function stateError(label: string, error: unknown): Error {
  if (error instanceof VmcacheError || error instanceof AssertionError) return error
  const known = lookUp(error)
  if (known === undefined) {
    return new VmcacheError('FAILED', `state database ${label} failed: ${messageOf(error)}`, { cause: error })
  }
  const details = messageOf(error)
  return new VmcacheError(known.code, `state database ${label} ${known.says}${details === '' ? '' : ` (${details})`}`, {
    hint: known.hint,
    cause: error,
  })
}

function lookUp(error: unknown): Known | undefined {
  const text = messageOf(error)
  // Errors of libsql while it opens a file carry SQLite's number in their text alone.
  if (/Unable to open connection.*: 14\b/.test(text)) return KNOWN['SQLITE_CANTOPEN']
  if (/Connection terminated|timeout exceeded when trying to connect/.test(text)) return KNOWN['ETIMEDOUT']
  const code = systemCode(error) ?? ''
  // SQLite's extended codes begin with the plain one: SQLITE_READONLY_DBMOVED, SQLITE_IOERR_FSYNC.
  return KNOWN[code] ?? KNOWN[code.split('_').slice(0, 2).join('_')]
}
