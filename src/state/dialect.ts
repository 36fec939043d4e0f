import type { Dialect } from 'kysely'

export type DialectName = 'sqlite' | 'postgresql'

/** A database that was reached but not yet looked into. */
export interface OpenDialect {
  readonly name: DialectName
  /** The database as messages name it, without a password. */
  readonly label: string
  readonly dialect: Dialect
  /** Settings that may only be made once the database is known to be ours. */
  claim(): Promise<void>
  /** Before the last connection is closed. */
  release(): Promise<void>
}
