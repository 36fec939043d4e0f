import { VmcacheError } from '../base/errors.js'
import type { VmDriver } from '../hypervisor/driver.js'
import type { Targets } from '../protocol/control/documents.js'
import type { DiskRecord, OwningVm } from '../state/disk-store.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively, type Inventory } from './inventory.js'
import type { OperationContext } from './operation.js'
import { policyKey } from './policies.js'
import {
  isPattern,
  overTargets,
  select,
  type Selection,
  type TargetNoun,
  type TargetOutcome,
  type TargetsOutcome,
} from './targets.js'

/** An attachment that is for a disk of a VM. */
export type VmDisk = DiskRecord & { readonly vm: OwningVm }

export function isVmDisk(disk: DiskRecord): disk is VmDisk {
  return disk.vm !== null
}

export const VMS: TargetNoun = { what: 'VM', notFound: vmNotFound }

/** The VM that is called so, or has that UUID. */
export function knownVm(inventory: Inventory, nameOrUuid: string): VmRecord {
  const byName = [...inventory.vms.values()].find(({ name }) => name === nameOrUuid)
  const vm = byName ?? inventory.vms.get(nameOrUuid)
  if (vm !== undefined) return vm
  throw vmNotFound(nameOrUuid)
}

function vmNotFound(name: string): VmcacheError {
  return new VmcacheError('VM_NOT_FOUND', `VM ${name} is neither defined nor adopted`, {
    hint: 'see: vmcache vm list; a domain of libvirt is taken over by: vmcache vm adopt DOMAIN',
  })
}

export function vmNames({ vms }: Inventory): string[] {
  return [...vms.values()].map(({ name }) => name).sort()
}

/** Which VMs are meant, by name; what fits none of them stays as it was written. */
export function selectVms({ inventory }: Pick<ControlPlane, 'inventory'>, targets: Targets): Selection {
  return select(byName(inventory, targets), vmNames(inventory), VMS)
}

/** Names of the VMs that were named themselves, not by a pattern. */
export function namedVms({ inventory }: Pick<ControlPlane, 'inventory'>, targets: Targets): Set<string> {
  return new Set(byName(inventory, targets).names.filter((name) => !isPattern(name)))
}

function byName<Request extends Targets>({ vms }: Inventory, request: Request): Request {
  return { ...request, names: request.names.map((name) => vms.get(name)?.name ?? name) }
}

/** Does `work` to every selected VM, as {@link overTargets} does; VMs are named by name or by UUID. `atOnce`: null for as many as usual. */
export function overVms<Request extends Targets & { readonly dryRun: boolean }>(
  { inventory }: Pick<ControlPlane, 'inventory'>,
  request: Request,
  context: OperationContext,
  work: (vm: VmRecord, context: OperationContext) => Promise<TargetOutcome>,
  atOnce?: number | null,
): Promise<TargetsOutcome> {
  const onVm = (name: string, inner: OperationContext) => work(knownVm(inventory, name), inner)
  return overTargets(byName(inventory, request), vmNames(inventory), context, onVm, VMS, atOnce)
}

/** Removes a VM from the state database, and from what is known. */
export function forgetVm({ host, inventory, state }: ControlPlane, { name, uuid }: VmRecord): Promise<void> {
  return exclusively(inventory, `vm ${name}`, async () => {
    await state.transaction(async (stores) => {
      await stores.vms.delete(host.id, uuid)
      await stores.policies.delete(host.id, 'vm', uuid)
    })
    inventory.vms.delete(uuid)
    inventory.policies.delete(policyKey('vm', uuid))
  })
}

export function driverOf({ drivers }: Pick<ControlPlane, 'drivers'>, { driver }: VmRecord): VmDriver {
  return drivers[driver]
}

/** The disks that are attached for a VM, by target. */
export function disksOfVm({ disks }: Inventory, { uuid }: Pick<VmRecord, 'uuid'>): VmDisk[] {
  return [...disks.values()]
    .filter((disk): disk is VmDisk => disk.vm?.uuid === uuid)
    .sort((a, b) => (a.vm.target < b.vm.target ? -1 : 1))
}
