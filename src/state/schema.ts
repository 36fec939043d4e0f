/**
 * state/: the state database: names and intentions, never a fact about data that only it knows. One typed schema for SQLite
 * and PostgreSQL, one file per aggregate, migrations that run on both.
 *
 * What both databases store alike: numbers are integers within 2^53, truths are 0 and 1, times are RFC 3339 text in UTC with
 * milliseconds (so text order is time order), numbers that may be larger (inodes, nanoseconds) are decimal text, documents are JSON
 * text. Column names are the property names in snake case.
 */
import type { Generated } from 'kysely'

export interface Schema {
  host: { id: string; name: string; seenAt: string }
  cache: {
    host: string
    name: string
    cacheId: string
    blockBytes: number
    chunkBytes: number
    createdAt: string
  }
  cacheDevice: {
    host: string
    cache: string
    position: number
    deviceId: string
    path: string
    sizeBytes: number
    chunks: number
  }
  disk: {
    host: string
    name: string
    cache: string
    logId: string
    origin: string
    lease: string | null
    socket: string
    readOnly: number
    exclusive: number
    blockBytes: number
    createdAt: string
    vm: string | null
    target: string | null
  }
  vm: {
    host: string
    uuid: string
    name: string
    driver: string
    connect: string | null
    definition: string | null
    createdAt: string
  }
  policy: { host: string; level: string; object: string; settings: string }
  checkpoint: {
    id: string
    host: string
    vm: string
    /** Empty where it is in a file. */
    cache: string
    /** Of its file; null where it is in a cache. */
    directory: string | null
    leftover: string | null
    state: string
    bytes: number
    storedBytes: number
    createdAt: string
    why: string
    qemu: string
    definition: string | null
    disks: string
  }
  lease: {
    origin: string
    /** Null: nobody holds it; the row stays for its epoch, which is never used twice. */
    host: string | null
    disk: string | null
    epoch: number
    changedAt: string
  }
  tenure: {
    host: string
    disk: string
    origin: string
    stampId: string | null
    epoch: number
    kind: string
    sizeBytes: number
    inode: string | null
    modifiedAt: string | null
    clockAhead: string
    ending: string
    endedAt: string | null
    held: number
    lacksWrites: number
  }
  job: {
    id: string
    host: string
    kind: string
    object: string
    state: string
    who: string
    request: string
    progress: string
    createdAt: string
    endedAt: string | null
    result: string
    error: string
  }
  event: {
    id: Generated<number>
    host: string
    at: string
    what: string
    why: string | null
    who: string
    result: string
    vm: string | null
    disk: string | null
    cache: string | null
  }
}
