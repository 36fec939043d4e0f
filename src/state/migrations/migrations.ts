/**
 * state/migrations/: the steps by which the schema came to be what it is, one file each. They run on SQLite and PostgreSQL, each in its order,
 * once.
 */
import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'
import { start } from './0001-start.js'
import { lacksWrites } from './0002-lacks-writes.js'
import { writeBack } from './0003-write-back.js'
import { vms } from './0004-vms.js'
import { checkpoints } from './0005-checkpoints.js'
import { checkpointDefinition } from './0006-checkpoint-definition.js'
import { policies } from './0007-policies.js'
import { checkpointPlaces } from './0008-checkpoint-places.js'

export interface SchemaMigration {
  /** Sorts in the order of application; kept for ever, as databases remember it. */
  readonly name: string
  readonly up: (db: Kysely<unknown>, dialect: DialectName) => Promise<void>
}

/** Every step of the schema, oldest first. A step that was released is never changed: a later one mends it. */
export const MIGRATIONS: readonly SchemaMigration[] = [
  { name: '0001-start', up: start },
  { name: '0002-lacks-writes', up: lacksWrites },
  { name: '0003-write-back', up: writeBack },
  { name: '0004-vms', up: vms },
  { name: '0005-checkpoints', up: checkpoints },
  { name: '0006-checkpoint-definition', up: checkpointDefinition },
  { name: '0007-policies', up: policies },
  { name: '0008-checkpoint-places', up: checkpointPlaces },
]
