import { VmcacheError } from '../base/errors.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { qemuIdentity, type QemuIdentity } from '../hypervisor/memory-stream.js'
import { observeVm } from '../hypervisor/observe-vm.js'
import { placeText } from '../model/checkpoint.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { dropCheckpoint, saveCheckpoint } from './known-checkpoint.js'
import { disksOfVm, driverOf, knownVm, namedVms, overVms, selectVms } from './known-vm.js'
import { readMemory } from './move-memory.js'
import type { OperationContext, Operations } from './operation.js'
import { reconcileDisks } from './reconcile-vms.js'
import { refuseIncompleteDisks } from './refuse-incomplete.js'
import { reconcileReservation } from './reservation.js'
import { setGuestClock } from './set-guest-clock.js'
import { refuseChangedDisks } from './suspended-disks.js'
import { settleDisk } from './vm-disks.js'

/** Lets suspended VMs go on where they were, through their caches. A name insists that its VM is suspended, or runs. */
export function vmResume(plane: ControlPlane): Operations['vm.resume'] {
  const { inventory, suspendQueue } = plane
  return async (request, context) => {
    const { names, unknown } = selectVms(plane, request)
    const named = namedVms(plane, request)
    const isSuspended = (name: string): boolean =>
      inventory.checkpoints.get(knownVm(inventory, name).uuid)?.state === 'suspended'
    const chosen = names.filter((name) => named.has(name) || isSuspended(name))
    const targets = { names: [...chosen, ...unknown], all: false, exclude: [], dryRun: request.dryRun }
    if (targets.names.length === 0) {
      return { changed: false, ...(request.dryRun ? { dryRun: true, steps: [] } : {}), results: [] }
    }
    return overVms(plane, targets, context, resumeInTurn, request.atOnce)

    async function resumeInTurn(vm: VmRecord, inner: OperationContext) {
      const checkpoint = await checkpointToResume(plane, vm)
      if (checkpoint === null) return { changed: false, steps: [] }
      if (request.dryRun) return { changed: true, steps: stepsOf(plane, vm, checkpoint) }
      await suspendQueue.resume(request.perHour, inner.signal, () =>
        exclusively(inventory, `vm ${vm.name}`, async () => {
          const now = await checkpointToResume(plane, vm)
          if (now !== null) await resume(plane, vm, now, inner)
        }),
      )
      return { changed: true, steps: [] }
    }
  }
}

/** Null where the VM runs already; WRONG_STATE where it is neither suspended nor runs, or runs although it is suspended. */
async function checkpointToResume(plane: ControlPlane, vm: VmRecord): Promise<CheckpointRecord | null> {
  const { uuid, name } = vm
  const checkpoint = plane.inventory.checkpoints.get(uuid)
  const isOn = (await driverOf(plane, vm).monitor(vm)) !== null
  if (checkpoint === undefined) {
    if (isOn) return null
    throw new VmcacheError('WRONG_STATE', `VM ${name} is not suspended`, { hint: `start it: vmcache vm start ${name}` })
  }
  if (checkpoint.state !== 'suspended') {
    throw new VmcacheError('WRONG_STATE', `VM ${name} is ${checkpoint.state}`, {
      hint: `this is brought to an end by itself; see: vmcache checkpoint show ${name}`,
    })
  }
  if (!isOn) return checkpoint
  throw new VmcacheError('WRONG_STATE', `VM ${name} runs, and what was suspended of it is its past`, {
    hint: `forget that: vmcache checkpoint delete ${name} --discard-memory`,
  })
}

/**
 * Everything is found out before the VM is touched. That its memory is being used is on record before it is loaded, and that it is used before
 * the guest goes on: so it is never used twice. What an engine that dies in between leaves, settle-checkpoints.ts brings to an end.
 */
async function resume(
  plane: ControlPlane,
  vm: VmRecord,
  checkpoint: CheckpointRecord,
  context: OperationContext,
): Promise<void> {
  const { engine, inventory } = plane
  const { place, id, disks } = checkpoint
  const driver = driverOf(plane, vm)
  // Somebody may have run it without its memory: what it wrote then, its storage has to have before that is looked at.
  for (const disk of disksOfVm(inventory, vm)) {
    await exclusively(inventory, `disk ${disk.name}`, () => settleDisk(plane, disk, context, 'its VM is suspended'))
  }
  await refuseIncompleteDisks(plane, vm)
  await refuseChangedDisks(plane, vm, disks)
  await engine.verifyCheckpoint(place, id, context)
  // That took long.
  await refuseChangedDisks(plane, vm, disks)
  await saveCheckpoint(plane, { ...checkpoint, state: 'resuming' })
  const prepare = async (monitor: VmMonitor): Promise<void> => {
    refuseOtherQemu(vm, checkpoint.qemu, await qemuIdentity(monitor))
    await reconcileDisks(plane, vm)
  }
  try {
    await readMemory(plane, vm, checkpoint, prepare, context)
    await saveCheckpoint(plane, { ...checkpoint, state: 'consumed' })
  } catch (error) {
    await takeBack(plane, vm, checkpoint)
    throw asVmcacheError(error)
  }
  await driver.resume(vm)
  const clockIsSet = setGuestClock(plane, vm)
  // Where it is not erased now, it is later.
  await dropCheckpoint(plane, checkpoint).catch(() => {})
  // It runs already; what cannot be promised now may be later.
  await reconcileReservation(plane, vm).catch(() => {})
  await clockIsSet
}

/** Nothing of the guest has run: it is suspended as before. Where that cannot be done now, it is done later. */
async function takeBack(plane: ControlPlane, vm: VmRecord, checkpoint: CheckpointRecord): Promise<void> {
  const driver = driverOf(plane, vm)
  try {
    // One that runs was started by somebody else, without its memory.
    if ((await observeVm(driver, vm)).state !== 'running') await driver.destroy(vm)
    await saveCheckpoint(plane, checkpoint)
  } catch {
    // It stays on record as one that is being resumed.
  }
}

/** A stream is loaded by the same machine of the same version; a later correction of it is the same version. */
function refuseOtherQemu({ name }: VmRecord, then: QemuIdentity, now: QemuIdentity): void {
  const release = ({ version }: QemuIdentity): string => version.split('.').slice(0, 2).join('.')
  if (release(then) === release(now) && then.machine === now.machine) return
  throw new VmcacheError(
    'HYPERVISOR',
    `VM ${name} was suspended by QEMU ${then.version} as ${then.machine}; here is QEMU ${now.version}, ${now.machine}`,
    {
      hint: `install that QEMU again; or start the VM without its memory: vmcache checkpoint delete ${name} --discard-memory, then vmcache vm start ${name}`,
      details: { seen: now, expected: then },
    },
  )
}

function stepsOf({ inventory }: ControlPlane, vm: VmRecord, { place, id }: CheckpointRecord): string[] {
  return [
    `verify the memory of VM ${vm.name} in ${placeText(place, id)}, and that its disks are as they were`,
    `start VM ${vm.name}, stopped`,
    ...disksOfVm(inventory, vm).map((disk) => `send the requests of ${disk.vm.target} through cache ${disk.cache}`),
    `load its memory, and let it go on`,
  ]
}
