import {
  DISK_SETTING_KEYS,
  diskSettings,
  VM_SETTING_KEYS,
  type DiskSettings,
  type Level,
  type SettingKey,
  type SettingValue,
} from '../model/policy.js'
import type { Resolved } from '../model/resolve-policy.js'
import type { VmPolicy } from '../model/vm-policy.js'
import type { PolicyDocument, SettingDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { refuseOtherHost } from './host-set.js'
import { knownCache, knownDisk } from './inventory.js'
import { knownVm } from './known-vm.js'
import { HOST_OBJECT, inheritedSettings, resolvedDisk, resolvedVm } from './policies.js'

/** What is wanted of a disk, a VM, a cache or the host, what of it is in force, and where each value comes from. */
export async function policyDocument(plane: ControlPlane, level: Level, name: string): Promise<PolicyDocument> {
  const { host, inventory } = plane
  const { policies } = inventory
  switch (level) {
    case 'disk':
      return { level, name, settings: await settingsOfDisk(plane, name) }
    case 'vm': {
      const vm = knownVm(inventory, name)
      const ofDisks = settingsOf(DISK_SETTING_KEYS, inheritedSettings(policies, level, vm.uuid), () => null)
      // What it does not say of its disks each of their caches may say.
      const own = ofDisks.filter(({ source }) => source === level)
      return { level, name: vm.name, settings: [...settingsOfVm(plane, vm.uuid), ...own] }
    }
    case 'cache': {
      const inherited = inheritedSettings(policies, level, knownCache(inventory, name).name)
      return { level, name, settings: settingsOf(DISK_SETTING_KEYS, inherited, () => null) }
    }
    case 'host': {
      refuseOtherHost(plane, name)
      const disks = settingsOf(DISK_SETTING_KEYS, inheritedSettings(policies, level, HOST_OBJECT), () => null)
      const vms = settingsOf(VM_SETTING_KEYS, resolvedVm(policies, ''), () => null)
      return { level, name: host.name, settings: [...disks, ...vms] }
    }
  }
}

async function settingsOfDisk(plane: ControlPlane, name: string): Promise<SettingDocument[]> {
  const disk = knownDisk(plane.inventory, name)
  const isServed = (await plane.engine.disks()).some((served) => served.disk === name)
  const { mode, ...settings } = await diskDocument(plane, name)
  const inForce: DiskSettings = diskSettings({ ...settings, mode: mode.inForce })
  return settingsOf(DISK_SETTING_KEYS, resolvedDisk(plane.inventory.policies, disk), (key) =>
    isServed ? { value: inForce[key], reason: key === 'mode' ? mode.reason : null } : null,
  )
}

function settingsOfVm({ inventory }: ControlPlane, uuid: string): SettingDocument[] {
  const resolved: Resolved<VmPolicy> = resolvedVm(inventory.policies, uuid)
  const isReserved = inventory.reservations.has(uuid)
  const isBehind = resolved.wanted.rapidSuspend !== 'off' && !isReserved
  return settingsOf(VM_SETTING_KEYS, resolved, (key) =>
    key === 'rapidSuspend' && isBehind
      ? { value: 'off', reason: 'nothing is reserved for it now' }
      : { value: resolved.wanted[key], reason: null },
  )
}

function settingsOf<Key extends SettingKey>(
  keys: readonly Key[],
  { wanted, sources }: Resolved<Record<Key, SettingValue>>,
  inForce: (key: Key) => SettingDocument['inForce'],
): SettingDocument[] {
  return keys.map((key) => ({
    setting: key,
    wanted: wanted[key],
    source: sources[key],
    inForce: inForce(key),
  }))
}
