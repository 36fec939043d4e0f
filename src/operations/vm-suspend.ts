import { VmcacheError } from '../base/errors.js'
import { formatDuration } from '../base/units.js'
import { MAXIMUM_ATTRIBUTE_BYTES } from '../format/object-header.js'
import { qemuIdentity, whyNotSaved } from '../hypervisor/memory-stream.js'
import { openConsoles } from '../hypervisor/open-consoles.js'
import { observeVm } from '../hypervisor/observe-vm.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { type CheckpointDestination, type CheckpointPlace } from '../model/checkpoint.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { isAt, placeFor, storageDirectory } from './checkpoint-place.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively, isBusy } from './inventory.js'
import { refuseSuspended, saveCheckpoint } from './known-checkpoint.js'
import { disksOfVm, driverOf, knownVm, namedVms, overVms, selectVms } from './known-vm.js'
import { writeMemory } from './move-memory.js'
import { idleSecondsOf } from './observe-activities.js'
import type { OperationContext, Operations } from './operation.js'
import { lacksWrites } from './origin-guard.js'
import { releaseFor } from './reservation.js'
import { letGoOn } from './settle-checkpoints.js'
import { observeDisksOf, refuseUnknownDisks } from './suspended-disks.js'
import { settleDisk } from './vm-disks.js'

type Request = RequestOf<'vm.suspend'>

/** The rest of the attributes is for its disks. */
const MAXIMUM_DEFINITION_BYTES = MAXIMUM_ATTRIBUTE_BYTES * 0.75

/** The guest stands still when QEMU has drained its requests. */
const STOP_MILLISECONDS = 30_000

/** Suspends VMs: their memory goes to the cache, or to storage, and they end. A filter leaves out what cannot be suspended; a name insists. */
export function vmSuspend(plane: ControlPlane): Operations['vm.suspend'] {
  return async (request, context) => {
    // Else a filter would leave out all of them without a word.
    if (request.to === 'storage') storageDirectory(plane)
    const { names, unknown } = selectVms(plane, request)
    const fits = await Promise.all(names.map((name) => isMeant(plane, request, name)))
    const chosen = [...names.filter((_, index) => fits[index]), ...unknown]
    if (chosen.length === 0)
      return { changed: false, ...(request.dryRun ? { dryRun: true, steps: [] } : {}), results: [] }
    const targets = { names: chosen, all: false, exclude: [], dryRun: request.dryRun }
    return overVms(plane, targets, context, (vm, inner) => suspendInTurn(plane, vm, request, inner), request.atOnce)
  }
}

/** One that was named is meant whatever it does; others only where they can be suspended, and have been idle for as long as is asked. */
async function isMeant(plane: ControlPlane, request: Request, name: string): Promise<boolean> {
  const { inventory } = plane
  const { idleSeconds } = request
  if (idleSeconds === null && namedVms(plane, request).has(name)) return true
  const vm = knownVm(inventory, name)
  if (isBusy(inventory, `vm ${name}`) || inventory.checkpoints.has(vm.uuid)) return false
  if (idleSeconds !== null && (idleSecondsOf(plane, vm) ?? -1) < idleSeconds) return false
  try {
    const { monitor } = await suspendable(plane, vm, request.to)
    // Who has opened a console since that was looked at does not see it end.
    return idleSeconds === null || (await openConsoles(monitor)).length === 0
  } catch {
    return false
  }
}

async function suspendInTurn(plane: ControlPlane, vm: VmRecord, request: Request, context: OperationContext) {
  const unchanged = { changed: false, steps: [] }
  const { inventory, suspendQueue } = plane
  const before = inventory.checkpoints.get(vm.uuid)
  if (before?.state === 'suspended' && (request.to === undefined || isAt(before.place, request.to))) return unchanged
  refuseSuspended(plane, vm)
  const { place } = await suspendable(plane, vm, request.to)
  if (request.dryRun) return { changed: true, steps: stepsOf(plane, vm, place) }
  return suspendQueue.suspend(request.perHour, context.signal, async () => {
    // It may have woken while it waited.
    if (!(await isMeant(plane, request, vm.name))) return unchanged
    await exclusively(inventory, `vm ${vm.name}`, () =>
      suspend(plane, vm, { to: request.to, why: whyOf(plane, vm, request, context) }, context),
    )
    return { changed: true, steps: [] }
  })
}

function whyOf(plane: ControlPlane, vm: VmRecord, { idleSeconds }: Request, { who }: OperationContext): string {
  return idleSeconds === null ? `asked for (${who})` : `idle ${formatDuration(idleSecondsOf(plane, vm) ?? 0)} (${who})`
}

interface Suspendable {
  /** The way into it. */
  readonly monitor: VmMonitor
  /** What it consists of, where that may change. */
  readonly definition: string | null
  /** The place that will have its memory. */
  readonly place: CheckpointPlace
}

/** What is needed of a VM that can be suspended now; throws why it cannot be. */
async function suspendable(
  plane: ControlPlane,
  vm: VmRecord,
  to: CheckpointDestination = 'local',
): Promise<Suspendable> {
  const { name } = vm
  const driver = driverOf(plane, vm)
  const monitor = await driver.monitor(vm)
  const { state } = await observeVm(driver, vm, monitor)
  if (monitor === null || state !== 'running') {
    throw new VmcacheError('WRONG_STATE', `VM ${name} is ${state}: only one that runs can be suspended`)
  }
  const blocked = await whyNotSaved(monitor)
  if (blocked !== null) throw new VmcacheError('HYPERVISOR', `VM ${name} cannot be suspended: ${blocked}`)
  await refuseUnknownDisks(plane, vm, monitor)
  await observeDisksOf(plane, vm)
  const definition = await driver.lastingDefinition(vm)
  refuseLongDefinition(vm, definition)
  return { monitor, definition, place: placeFor(plane, vm, to) }
}

/** A checkpoint keeps it beside the stream, with what else has to be known of the VM. */
function refuseLongDefinition({ name }: VmRecord, definition: string | null): void {
  const bytes = Buffer.byteLength(JSON.stringify(definition))
  if (bytes <= MAXIMUM_DEFINITION_BYTES) return
  throw new VmcacheError(
    'REFUSED',
    `VM ${name} cannot be suspended: its definition has ${bytes} bytes, at most ${MAXIMUM_DEFINITION_BYTES} are kept`,
  )
}

/**
 * The VM is stopped, its origins get what they lack, and its memory goes to its place. It ends only when a checkpoint that is whole is on
 * record; whatever fails before that, it goes on. What an engine that dies in between leaves, settle-checkpoints.ts brings to an end.
 */
async function suspend(
  plane: ControlPlane,
  vm: VmRecord,
  { to, why }: { readonly to: CheckpointDestination | undefined; readonly why: string },
  context: OperationContext,
): Promise<void> {
  const { clock, engine, host, random } = plane
  const driver = driverOf(plane, vm)
  const { monitor, definition, place } = await suspendable(plane, vm, to)
  if ('directory' in place) await engine.makeCheckpointDirectory(place.directory)
  const begun: CheckpointRecord = {
    ...{ id: random.id(), host: host.id, vm: vm.uuid, place, leftover: null, state: 'suspending' },
    ...{ bytes: 0, storedBytes: 0 },
    ...{
      createdAt: new Date(clock.now()).toISOString(),
      why,
      qemu: await qemuIdentity(monitor),
      definition,
      disks: [],
    },
  }
  await saveCheckpoint(plane, begun)
  try {
    await monitor.execute('stop', {}, { timeoutMilliseconds: STOP_MILLISECONDS })
    await completeOrigins(plane, vm, context)
    const disks = await observeDisksOf(plane, vm)
    const attributes = JSON.stringify({ qemu: begun.qemu, definition, disks })
    const source = { id: begun.id, attributes, bytes: null }
    const { bytes, storedBytes } = await writeMemory(plane, vm, place, source, context)
    await saveCheckpoint(plane, { ...begun, state: 'suspended', bytes, storedBytes, disks })
  } catch (error) {
    await letGoOn(plane, vm, begun).catch(() => {})
    throw asVmcacheError(error)
  }
  // Where it does not end now, it is ended later.
  await driver.destroy(vm).catch(() => {})
  await releaseFor(plane, vm).catch(() => {})
}

/** What a checkpoint goes with is what the storage has, not what a cache has. */
async function completeOrigins(plane: ControlPlane, vm: VmRecord, context: OperationContext): Promise<void> {
  const { inventory } = plane
  for (const disk of disksOfVm(inventory, vm)) {
    await exclusively(inventory, `disk ${disk.name}`, () => settleDisk(plane, disk, context, 'its VM is suspended'))
    if (!lacksWrites(plane, disk.name)) continue
    throw new VmcacheError('DIRTY_DATA', `origin of disk ${disk.name} lacks writes still`, {
      hint: `see why: vmcache disk show ${disk.name}`,
    })
  }
}

function stepsOf({ inventory }: ControlPlane, vm: VmRecord, place: CheckpointPlace): string[] {
  const to = 'cache' in place ? `cache ${place.cache}` : `directory ${place.directory}`
  return [
    `stop VM ${vm.name}`,
    ...disksOfVm(inventory, vm).map(({ name }) => `write what the origin of ${name} lacks`),
    `write its memory to ${to}`,
    `end VM ${vm.name}`,
  ]
}
