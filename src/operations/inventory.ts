import { VmcacheError } from '../base/errors.js'
import type { Activity } from '../model/idleness.js'
import type { Mode } from '../model/mode.js'
import type { Allocation } from '../protocol/control/documents.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { PolicyRecord } from '../state/policy-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { createTurns, type Turns } from './turns.js'

/** Why a recorded cache or disk is not served, and the command that mends it. */
export interface Trouble {
  /** `waiting`: tried again by itself; `changed`, `failed`: somebody must act. */
  readonly state: 'waiting' | 'changed' | 'failed'
  readonly reason: string
  readonly mend: string
}

export interface CacheTrouble extends Trouble {
  /** Paths of its devices at which something else, or nothing, was found. */
  readonly missing: readonly string[]
  /** Paths of its devices that hold the ruins of a superblock. */
  readonly corrupt: readonly string[]
}

/**
 * This host's part of the state database, in memory: every change goes to the database first and then here, so reads are answered
 * while the database is away.
 */
export interface Inventory {
  readonly caches: Map<string, CacheRecord>
  /** Also those that are being attached. */
  readonly disks: Map<string, DiskRecord>
  /** What is set of disks, VMs, caches and the host (policies.ts); what disks and VMs have here follows from it. */
  readonly policies: Map<string, PolicyRecord>
  /** By disk. */
  readonly tenures: Map<string, TenureRecord>
  /** Epochs of the leases that this host holds, by disk. */
  readonly epochs: Map<string, number>
  /** What the origins of served disks were seen to be, by disk. */
  readonly identities: Map<string, string>
  readonly cacheTroubles: Map<string, CacheTrouble>
  readonly diskTroubles: Map<string, Trouble>
  /** Disks that are not served and whose stamp says that the origin lacks writes, whatever is remembered of their tenure. */
  readonly stampedLacking: Set<string>
  /** Why disks write through although another mode is wanted of them: their origins cannot be guarded (origin-guard.ts). */
  readonly withheldModes: Map<string, string>
  /** Modes that disks are being given now. */
  readonly changingModes: Map<string, Mode>
  /** Disks whose epoch has risen in the stamp, while the state database was away. */
  readonly unsavedEpochs: Set<string>
  /** Changes of one disk's stamp and tenure: each begins when the one before it has ended. */
  readonly tenureTurns: Turns
  /** By UUID. */
  readonly vms: Map<string, VmRecord>
  /** Of suspended VMs, by UUID of the VM. */
  readonly checkpoints: Map<string, CheckpointRecord>
  /** Who has the consoles of VMs open, when that was looked at, by UUID. */
  readonly consoles: Map<string, { readonly at: number; readonly kinds: readonly string[] }>
  /** What VMs are promised for their memory, by UUID. */
  readonly reservations: Map<string, { readonly cache: string; readonly bytes: number }>
  /** What running VMs have done lately, by UUID. */
  readonly activities: Map<string, Activity>
  /** Disks of VMs whose requests come through the engine now. */
  readonly throughCache: Set<string>
  /** What disks have of their caches; one that is not here has all that is wanted of it. */
  readonly allocations: Map<string, Allocation>
  /** Why attached disks of running VMs are direct, by disk. */
  readonly whyDirect: Map<string, string>
  /** Objects that are being changed: `cache fast`, `disk web01/vda`, `vm web01`. */
  readonly busy: Set<string>
  /** Those of them that the engine changes by itself, each with the end of that. */
  readonly inBackground: Map<string, Promise<unknown>>
}

export function createInventory(): Inventory {
  return {
    caches: new Map(),
    disks: new Map(),
    policies: new Map(),
    tenures: new Map(),
    epochs: new Map(),
    identities: new Map(),
    cacheTroubles: new Map(),
    diskTroubles: new Map(),
    stampedLacking: new Set(),
    withheldModes: new Map(),
    changingModes: new Map(),
    unsavedEpochs: new Set(),
    tenureTurns: createTurns(),
    vms: new Map(),
    checkpoints: new Map(),
    consoles: new Map(),
    reservations: new Map(),
    activities: new Map(),
    throughCache: new Set(),
    allocations: new Map(),
    whyDirect: new Map(),
    busy: new Set(),
    inBackground: new Map(),
  }
}

export function knownCache(inventory: Inventory, name: string): CacheRecord {
  const cache = inventory.caches.get(name)
  if (cache !== undefined) return cache
  throw new VmcacheError('CACHE_NOT_FOUND', `cache ${name} does not exist`, { hint: 'see: vmcache cache list' })
}

export function knownDisk(inventory: Inventory, name: string): DiskRecord {
  const disk = inventory.disks.get(name)
  if (disk !== undefined) return disk
  throw diskNotFound(name)
}

export function diskNotFound(name: string): VmcacheError {
  return new VmcacheError('DISK_NOT_FOUND', `disk ${name} is not attached`, { hint: 'see: vmcache disk list' })
}

/** Disks of a cache, also those that are not served now. */
export function disksOf(inventory: Inventory, cache: string): DiskRecord[] {
  return [...inventory.disks.values()].filter((disk) => disk.cache === cache)
}

/**
 * Runs `work` while nobody else changes `object`; JOB_CONFLICT where somebody does. What the engine does by itself is waited for: nobody knows
 * of it, and it is short.
 */
export async function exclusively<Result>(
  inventory: Inventory,
  object: string,
  work: () => Promise<Result>,
): Promise<Result> {
  while (inventory.inBackground.has(object)) await inventory.inBackground.get(object)
  refuseBusy(inventory, object)
  inventory.busy.add(object)
  try {
    return await work()
  } finally {
    inventory.busy.delete(object)
  }
}

/** The same for what the engine does by itself. `work` asks for nothing for which it would have to wait for itself. */
export async function inBackground<Result>(
  inventory: Inventory,
  object: string,
  work: () => Promise<Result>,
): Promise<Result> {
  refuseBusy(inventory, object)
  const done = exclusively(inventory, object, work)
  const end = done.then(
    () => inventory.inBackground.delete(object),
    () => inventory.inBackground.delete(object),
  )
  inventory.inBackground.set(object, end)
  return done
}

/** Whether somebody changes an object, and is not the engine by itself. */
export function isBusy({ busy, inBackground: background }: Inventory, object: string): boolean {
  return busy.has(object) && !background.has(object)
}

export function refuseBusy(inventory: Inventory, object: string): void {
  if (!inventory.busy.has(object)) return
  throw new VmcacheError('JOB_CONFLICT', `${object} is being changed`, { hint: 'wait for it: vmcache job list' })
}
