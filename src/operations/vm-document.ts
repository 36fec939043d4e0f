import type { VmState } from '../model/vm.js'
import { shownPlace } from '../model/checkpoint.js'
import { observeVm, type ObservedVm } from '../hypervisor/observe-vm.js'
import type { DeclaredVm } from '../hypervisor/driver.js'
import type { VmDiskDocument, VmDocument } from '../protocol/control/documents.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { disksOfVm, driverOf } from './known-vm.js'
import { idleSecondsOf } from './observe-activities.js'
import { nextTime } from './schedule.js'

/** A VM as lists show it: what its hypervisor says now, and what is wanted of its disks. */
export async function vmDocument(plane: ControlPlane, vm: VmRecord): Promise<VmDocument> {
  const { declared, observed, state, reason } = await look(plane, vm)
  const disks = disksOf(plane, vm, declared, observed)
  const checkpoint = plane.inventory.checkpoints.get(vm.uuid)
  const isSuspended = checkpoint?.state === 'suspended' && state === 'off'
  return {
    name: declared?.name ?? vm.name,
    uuid: vm.uuid,
    driver: vm.driver,
    host: plane.host.name,
    state: isSuspended ? 'suspended' : state,
    reason: isSuspended ? checkpoint.why : reason,
    memoryBytes: declared?.memoryBytes ?? null,
    disks,
    idleSeconds: state === 'running' ? idleSecondsOf(plane, vm) : null,
    awake: state === 'running' ? [...(plane.inventory.activities.get(vm.uuid)?.awake ?? [])] : [],
    onEngineLoss: onEngineLoss(disks, declared, observed),
    reservation: plane.inventory.reservations.get(vm.uuid) ?? null,
    checkpoint: checkpoint === undefined ? null : shownCheckpoint(checkpoint),
    resumesAt: isSuspended ? resumesAt(plane, vm) : null,
    policy: vm.policy,
  }
}

function resumesAt({ clock }: ControlPlane, { policy: { resumeAt, timeZone } }: VmRecord): string | null {
  const at = resumeAt === null ? null : nextTime({ expression: resumeAt, timeZone }, clock.now())
  return at === null ? null : new Date(at).toISOString()
}

function shownCheckpoint({ id, place, bytes, createdAt }: CheckpointRecord): VmDocument['checkpoint'] {
  return { ...shownPlace(place, id), bytes, createdAt }
}

interface Look {
  readonly declared: DeclaredVm | null
  readonly observed: ObservedVm | null
  readonly state: VmState | 'unknown'
  readonly reason: string | null
}

async function look(plane: ControlPlane, vm: VmRecord): Promise<Look> {
  const driver = driverOf(plane, vm)
  try {
    const [declared, observed] = await Promise.all([driver.declared(vm), observeVm(driver, vm)])
    return { declared, observed, state: observed.state, reason: null }
  } catch (error) {
    return { declared: null, observed: null, state: 'unknown', reason: asVmcacheError(error).message }
  }
}

function disksOf(
  { inventory }: ControlPlane,
  vm: VmRecord,
  declared: DeclaredVm | null,
  observed: ObservedVm | null,
): VmDiskDocument[] {
  const attached = new Map(disksOfVm(inventory, vm).map((disk) => [disk.vm.target, disk]))
  const known = new Map(declared?.disks.map((disk) => [disk.target, disk]))
  return [...new Set([...known.keys(), ...attached.keys()])].sort().map((target) => {
    const disk = attached.get(target)
    const now = observed?.disks.find((other) => other.target === target)
    const whyDirect = now?.whyDirect ?? known.get(target)?.whyDirect ?? null
    const isCached = now?.path.kind === 'cached'
    return {
      target,
      disk: disk?.name ?? null,
      origin: disk?.origin ?? known.get(target)?.path ?? null,
      path: now === undefined ? null : isCached ? 'cached' : 'direct',
      reason: isCached || disk === undefined ? whyDirect : (inventory.whyDirect.get(disk.name) ?? whyDirect),
    }
  })
}

function onEngineLoss(
  disks: readonly VmDiskDocument[],
  declared: DeclaredVm | null,
  observed: ObservedVm | null,
): VmDocument['onEngineLoss'] {
  const isOff = observed === null || observed.state === 'off'
  const cached = disks.filter(({ path, disk }) => (isOff ? disk !== null : path === 'cached'))
  if (cached.length === 0) return 'continues'
  const known = isOff ? declared?.disks : observed.disks
  const stops = cached.every(({ target }) => known?.find((disk) => disk.target === target)?.stopsOnError === true)
  return stops ? 'stops' : 'io-error'
}
