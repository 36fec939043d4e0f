import { isSaved } from '../hypervisor/memory-stream.js'
import { observeVm } from '../hypervisor/observe-vm.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { inBackground } from './inventory.js'
import { dropCheckpoint, eraseCheckpoint, eraseLeftover, saveCheckpoint } from './known-checkpoint.js'
import { disksOfVm, driverOf } from './known-vm.js'
import { setGuestClock } from './set-guest-clock.js'
import { reconcileReservation } from './reservation.js'
import { comeThroughCache } from './vm-disks.js'

/**
 * Brings to an end what was begun with the checkpoint of a VM and was not ended, because an engine or a host died, or the state database was away:
 *
 * | on record | the VM | so |
 * | --- | --- | --- |
 * | suspending | is stopped, or runs | the checkpoint is nobody's: it is erased, then the VM goes on |
 * | suspending | is off | it died with its memory: the checkpoint is erased, as nobody knows whether it had gone on |
 * | suspended | is as its memory was saved | it had only to end: it is ended |
 * | suspended, with a leftover | is anything | it was on its way: what does not count is erased |
 * | resuming | is stopped | nothing of the guest has run: it is ended, and suspended again |
 * | resuming | is off | suspended again |
 * | consumed | is stopped | it has its memory: it goes on, and the checkpoint is erased |
 * | resuming, consumed | runs | the checkpoint is erased |
 * | consumed | is off | it may have run, so its memory must not be used again: the checkpoint is erased |
 *
 * Returns whether something is to be tried again soon.
 */
export async function settleCheckpoint(plane: ControlPlane, vm: VmRecord): Promise<boolean> {
  const { inventory } = plane
  const checkpoint = inventory.checkpoints.get(vm.uuid)
  if (checkpoint === undefined) return false
  if (inventory.busy.has(`vm ${vm.name}`)) return true
  return inBackground(inventory, `vm ${vm.name}`, () => settle(plane, vm, checkpoint)).then(
    () => false,
    () => true,
  )
}

async function settle(plane: ControlPlane, vm: VmRecord, checkpoint: CheckpointRecord): Promise<void> {
  const driver = driverOf(plane, vm)
  const monitor = await driver.monitor(vm)
  const { state } = await observeVm(driver, vm, monitor)
  const record = (what: string) =>
    plane.journal.record({ what, who: 'engine', why: `found ${checkpoint.state}`, result: 'ok', vm: vm.name })
  switch (checkpoint.state) {
    case 'suspending':
      if (state === 'off') await dropCheckpoint(plane, checkpoint)
      else await letGoOn(plane, vm, checkpoint)
      return record(state === 'off' ? 'checkpoint.erase' : 'vm.continue')
    case 'suspended':
      if (monitor !== null && (await isSaved(monitor))) {
        await driver.destroy(vm)
        await record('vm.end')
      }
      if (checkpoint.leftover === null) return
      await eraseLeftover(plane, checkpoint)
      return plane.journal.record({
        what: 'checkpoint.move',
        who: 'engine',
        why: 'what it left is erased',
        result: 'ok',
        vm: vm.name,
      })
    case 'resuming':
      if (state === 'running') return dropCheckpoint(plane, checkpoint)
      await driver.destroy(vm)
      await saveCheckpoint(plane, { ...checkpoint, state: 'suspended' })
      return record('vm.suspend')
    case 'consumed':
      if (state === 'paused') {
        await driver.resume(vm)
        await record('vm.continue')
        await setGuestClock(plane, vm)
      }
      return dropCheckpoint(plane, checkpoint)
  }
}

/**
 * Lets a stopped VM go on that was not suspended after all. Its checkpoint is erased before that, so that nobody can resume from what is the
 * past by then; where it cannot be, it stays on record as one that is not to be used.
 */
export async function letGoOn(plane: ControlPlane, vm: VmRecord, checkpoint: CheckpointRecord): Promise<void> {
  await eraseCheckpoint(plane, checkpoint).catch(() => {})
  await driverOf(plane, vm).resume(vm)
  // What was promised may have been used.
  plane.inventory.reservations.delete(vm.uuid)
  await reconcileReservation(plane, vm).catch(() => {})
  for (const disk of disksOfVm(plane.inventory, vm)) await comeThroughCache(plane, vm, disk).catch(() => {})
  await dropCheckpoint(plane, checkpoint)
}
