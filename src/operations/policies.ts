import {
  DEFAULT_DISK_SETTINGS,
  diskPolicy,
  type DiskPolicy,
  type DiskSettings,
  type Level,
  type Policy,
} from '../model/policy.js'
import { resolvePolicy, type LevelPolicy, type Resolved } from '../model/resolve-policy.js'
import { DEFAULT_VM_POLICY, type VmPolicy } from '../model/vm-policy.js'
import type { StoredDisk } from '../state/disk-store.js'
import type { PolicyRecord } from '../state/policy-store.js'

/** What is set on this host, by {@link policyKey}; an object of which nothing is set has none. */
export type Policies = ReadonlyMap<string, PolicyRecord>

/** How the host itself is called as the object of a policy. */
export const HOST_OBJECT = ''

/** `object`: name of a disk or cache, UUID of a VM, {@link HOST_OBJECT}. */
export function policyKey(level: Level, object: string): string {
  return `${level} ${object}`
}

/** What is set of one object. */
export function policyOf(policies: Policies, level: Level, object: string): Policy {
  return policies.get(policyKey(level, object))?.policy ?? {}
}

/** Replaces what is known to be set of an object. */
export function knowPolicy(policies: Map<string, PolicyRecord>, record: PolicyRecord): void {
  const key = policyKey(record.level, record.object)
  if (Object.keys(record.policy).length === 0) policies.delete(key)
  else policies.set(key, record)
}

type Placed = Pick<StoredDisk, 'name' | 'cache' | 'vm'>

/** The levels that a disk inherits from, itself included. */
function levelsOfDisk(policies: Policies, { name, cache, vm }: Placed): LevelPolicy[] {
  return [
    { level: 'disk', policy: policyOf(policies, 'disk', name) },
    ...(vm === null ? [] : [{ level: 'vm' as const, policy: policyOf(policies, 'vm', vm.uuid) }]),
    { level: 'cache', policy: policyOf(policies, 'cache', cache) },
    { level: 'host', policy: policyOf(policies, 'host', HOST_OBJECT) },
  ]
}

export function resolvedDisk(policies: Policies, disk: Placed): Resolved<DiskSettings> {
  return resolvePolicy(levelsOfDisk(policies, disk), DEFAULT_DISK_SETTINGS)
}

/** How a disk is to be cached. */
export function policyOfDisk(policies: Policies, disk: Placed): DiskPolicy {
  return diskPolicy(resolvedDisk(policies, disk).wanted)
}

/** The same of a disk that is not attached yet, of which `own` would be set. */
export function policyOfNewDisk(policies: Policies, disk: Placed, own: Policy): DiskPolicy {
  const [, ...above] = levelsOfDisk(policies, disk)
  return diskPolicy(resolvePolicy([{ level: 'disk', policy: own }, ...above], DEFAULT_DISK_SETTINGS).wanted)
}

/** What the disks have that inherit from an object and set nothing themselves. */
export function inheritedSettings(policies: Policies, level: Exclude<Level, 'disk'>, object: string) {
  const own = { level, policy: policyOf(policies, level, object) }
  const host = { level: 'host' as const, policy: policyOf(policies, 'host', HOST_OBJECT) }
  return resolvePolicy(level === 'host' ? [host] : [own, host], DEFAULT_DISK_SETTINGS)
}

export function resolvedVm(policies: Policies, uuid: string): Resolved<VmPolicy> {
  return resolvePolicy(
    [
      { level: 'vm', policy: policyOf(policies, 'vm', uuid) },
      { level: 'host', policy: policyOf(policies, 'host', HOST_OBJECT) },
    ],
    DEFAULT_VM_POLICY,
  )
}

/** What is wanted of a VM. */
export function policyOfVm(policies: Policies, uuid: string): VmPolicy {
  return resolvedVm(policies, uuid).wanted
}
