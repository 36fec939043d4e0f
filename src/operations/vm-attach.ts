import { VmcacheError } from '../base/errors.js'
import type { DeclaredDisk } from '../hypervisor/driver.js'
import { observeDisks } from '../hypervisor/observe-vm.js'
import type { AttachVmRequest, DiskDocument } from '../protocol/control/documents.js'
import type { VmRecord } from '../state/vm-store.js'
import { attachOrigin, settingsIn } from './cache-attach.js'
import { detachDisk } from './cache-detach.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { givenSettings } from './given-settings.js'
import { exclusively } from './inventory.js'
import { disksOfVm, driverOf, knownVm } from './known-vm.js'
import type { OperationContext, Operations } from './operation.js'
import { policyOfNewDisk } from './policies.js'
import { watchVms } from './reconcile-vms.js'
import { overTargets } from './targets.js'
import { putThroughCache, refuseUnsafeMode } from './vm-disks.js'

/** Serves disks of a VM through a cache, live where it runs. It holds over restarts of VM, engine and host until they are detached. */
export function vmAttach(plane: ControlPlane): Operations['vm.attach'] {
  const { inventory } = plane
  return async (request, context) => {
    const vm = knownVm(inventory, request.vm)
    const declared = (await driverOf(plane, vm).declared(vm)).disks
    const wanted = chosenDisks(vm, declared, request.targets)
    const names = new Map(wanted.map((disk) => [`${vm.name}/${disk.target}`, disk]))
    const targets = { names: [...names.keys()], all: names.size === 0, exclude: [], dryRun: request.dryRun }
    const outcome = await exclusively(inventory, `vm ${vm.name}`, () =>
      overTargets(targets, [...names.keys()], context, (name, inner) =>
        attach(plane, vm, { ...request, name, disk: names.get(name)! }, inner),
      ),
    )
    watchVms(plane)
    const attached = disksOfVm(inventory, vm).filter(({ name }) => names.has(name))
    const disks: DiskDocument[] = await Promise.all(attached.map(({ name }) => diskDocument(plane, name)))
    return { ...outcome, disks }
  }
}

/** Every disk that can be attached, or those that were named, whatever they are. */
function chosenDisks(
  { name }: VmRecord,
  declared: readonly DeclaredDisk[],
  targets: readonly string[],
): readonly DeclaredDisk[] {
  for (const target of targets) {
    if (declared.some((disk) => disk.target === target)) continue
    throw new VmcacheError('DISK_NOT_FOUND', `VM ${name} has no disk ${target}`, {
      hint: `it has ${declared.map((disk) => disk.target).join(', ') || 'none'}`,
    })
  }
  if (targets.length > 0) return declared.filter(({ target }) => targets.includes(target))
  const possible = declared.filter(({ whyDirect, path }) => whyDirect === null && path !== null)
  if (possible.length > 0 || declared.length === 0) return possible
  const reasons = declared.map(({ target, whyDirect }) => `${target}: ${whyDirect ?? 'no medium'}`)
  throw new VmcacheError('REFUSED', `no disk of VM ${name} can be attached (${reasons.join('; ')})`)
}

async function attach(
  plane: ControlPlane,
  vm: VmRecord,
  request: AttachVmRequest & { name: string; disk: DeclaredDisk },
  context: OperationContext,
): Promise<{ changed: boolean; steps: string[] }> {
  const { name, disk, vm: _, targets: __, ...settings } = request
  const { inventory } = plane
  const { target, path } = disk
  const driver = driverOf(plane, vm)
  const monitor = await driver.monitor(vm)
  const observed = monitor === null ? null : await observeDisks(monitor, [disk])
  const now = observed?.find((other) => other.target === target) ?? null
  const whyDirect =
    now?.whyDirect ?? disk.whyDirect ?? (path === null ? 'its storage is not a file or block device' : null)
  if (whyDirect !== null || path === null) {
    throw new VmcacheError('REFUSED', `disk ${target} of VM ${vm.name} stays direct: ${whyDirect}`)
  }
  const own = givenSettings(settingsIn(settings))
  const wanted = policyOfNewDisk(
    inventory.policies,
    { name, cache: settings.cache, vm: { uuid: vm.uuid, target } },
    own,
  )
  if (now !== null) refuseUnsafeMode(wanted.mode, { name }, now)
  const inserts = now !== null && now.path.kind === 'direct'
  const allocation = monitor === null ? 'resting' : 'full'
  const owner = { uuid: vm.uuid, target }
  const result = await attachOrigin(plane, { ...settings, origin: path, name, readOnly: false }, owner, allocation)
  const steps = [...(result.steps ?? []), ...(inserts ? [`send the requests of ${target} through cache`] : [])]
  if (!request.dryRun && inserts) {
    try {
      await exclusively(inventory, `disk ${name}`, () =>
        putThroughCache(plane, { ...inventory.disks.get(name)!, vm: owner }, monitor!, now),
      )
    } catch (error) {
      // An attachment that was there before is tried again by itself; a new one leaves nothing behind.
      const options = { discardDirty: false, force: false, dryRun: false }
      if (result.changed) await detachDisk(plane, name, options, context)
      throw error
    }
  }
  return { changed: result.changed || inserts, steps }
}
