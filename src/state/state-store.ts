import type { CacheRecord, CacheStore } from './cache-store.js'
import type { CheckpointRecord, CheckpointStore } from './checkpoint-store.js'
import type { DiskStore, StoredDisk } from './disk-store.js'
import type { EventStore } from './event-store.js'
import type { HostRecord, HostStore } from './host-store.js'
import type { JobRecord, JobStore } from './job-store.js'
import type { LeaseRecord, LeaseStore } from './lease-store.js'
import type { PolicyRecord, PolicyStore } from './policy-store.js'
import type { TenureRecord, TenureStore } from './tenure-store.js'
import type { StoredVm, VmStore } from './vm-store.js'

/** One store for each aggregate. */
export interface Stores {
  readonly hosts: HostStore
  readonly caches: CacheStore
  readonly disks: DiskStore
  readonly leases: LeaseStore
  readonly tenures: TenureStore
  readonly vms: VmStore
  readonly checkpoints: CheckpointStore
  readonly policies: PolicyStore
  readonly jobs: JobStore
  readonly events: EventStore
}

/** All that an engine keeps in memory of the state database. */
export interface StateImage {
  readonly hosts: readonly HostRecord[]
  readonly caches: readonly CacheRecord[]
  readonly disks: readonly StoredDisk[]
  readonly leases: readonly LeaseRecord[]
  readonly tenures: readonly TenureRecord[]
  readonly vms: readonly StoredVm[]
  readonly checkpoints: readonly CheckpointRecord[]
  readonly policies: readonly PolicyRecord[]
  /** Jobs that were running when the engine ended. */
  readonly jobs: readonly JobRecord[]
}

/** The state database. Every call rejects with VmcacheError where the database cannot be reached, read or written. */
export interface StateStore extends Stores {
  /** The database as messages name it, without a password. */
  readonly label: string
  /** Whether other hosts can use it too. */
  readonly isShared: boolean
  /** What belongs to the host, in one consistent reading. */
  load(host: string): Promise<StateImage>
  /** Runs `work` in one transaction: all of it or nothing, and durable when the call ends. */
  transaction<Result>(work: (stores: Stores) => Promise<Result>): Promise<Result>
  close(): Promise<void>
}
