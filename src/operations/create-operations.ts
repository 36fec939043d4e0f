import { coalesce } from '../base/coalesce.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { cacheAttach } from './cache-attach.js'
import { cacheCreate } from './cache-create.js'
import { cacheDelete } from './cache-delete.js'
import { cacheDetach } from './cache-detach.js'
import { cacheImport } from './cache-import.js'
import { cacheList, cacheShow, deviceList } from './cache-list.js'
import { cacheScrub } from './cache-scrub.js'
import { cacheSet } from './cache-set.js'
import { checkpointDelete } from './checkpoint-delete.js'
import { checkpointMove } from './checkpoint-move.js'
import { checkpointList, checkpointShow } from './checkpoint-list.js'
import { deviceAdd } from './device-add.js'
import { deviceRemove } from './device-remove.js'
import { deviceReplace } from './device-replace.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane, OperationsDependencies } from './control-plane.js'
import { diskFlush } from './disk-flush.js'
import { diskInvalidate } from './disk-invalidate.js'
import { diskList, diskShow } from './disk-list.js'
import { diskResolve } from './disk-resolve.js'
import { diskSet } from './disk-set.js'
import { doctor } from './doctor.js'
import { createPolicyEnforcer } from './enforce-policies.js'
import { engineStatus } from './engine-status.js'
import { eventList } from './event-list.js'
import { hostSet } from './host-set.js'
import { createInventory } from './inventory.js'
import { createJournal } from './journal.js'
import { createOriginObserver } from './observe-origin.js'
import { leaseList, leaseShow } from './lease-list.js'
import { leaseTake } from './lease-take.js'
import { observeActivities } from './observe-activities.js'
import type { Operations } from './operation.js'
import { releaseOrigin } from './origin-guard.js'
import { endTenure } from './origin-tenure.js'
import { policyList, policyShow } from './policy-list.js'
import { raiseEpoch } from './raise-epoch.js'
import { suspendedDomains } from './known-checkpoint.js'
import { vmNames } from './known-vm.js'
import { recorded, recordedForEach } from './recorded.js'
import { restore, retry, type RestoreReport } from './restore.js'
import { createStampFiles } from './stamp.js'
import { stats } from './stats.js'
import { createSuspendQueue } from './suspend-queue.js'
import { status } from './status.js'
import { createVmReconciler, type VmReconciler } from './reconcile-vms.js'
import { vmAdopt } from './vm-adopt.js'
import { vmAttach } from './vm-attach.js'
import { vmDefine } from './vm-define.js'
import { vmDelete } from './vm-delete.js'
import { vmList, vmShow } from './vm-list.js'
import { vmRelease } from './vm-release.js'
import { vmResume } from './vm-resume.js'
import { vmSet } from './vm-set.js'
import { vmStart } from './vm-start.js'
import { vmStop } from './vm-stop.js'
import { vmSuspend } from './vm-suspend.js'

export interface ControlPlaneHandle {
  readonly operations: Operations
  /** Opens every recorded cache and serves every recorded disk; once, before the first operation. */
  restore(): Promise<RestoreReport>
  /** Tries again what waits; to be called every few seconds to minutes. Calls do not overlap. */
  retry(): Promise<void>
  readonly reconcileVms: VmReconciler
  /** Looks at what VMs do, and begins what follows from that; to be called a few times a minute. */
  observeActivities(): Promise<void>
  /** Names of all VMs. */
  vmNames(): string[]
  /** Names of all recorded disks. */
  diskNames(): string[]
  /**
   * Closes the engine and writes down that it ended cleanly; sockets, leases and stamps stay for the next one. Before that
   * origins are given what they lack, for at most `drainMilliseconds`: those that have everything then are not guarded any more.
   */
  close(options: { drainMilliseconds: number }): Promise<void>
}

export function createOperations(dependencies: OperationsDependencies): ControlPlaneHandle {
  const { clock, engine, host, state } = dependencies
  const inventory = createInventory()
  const plane: ControlPlane = {
    ...dependencies,
    inventory,
    journal: createJournal(state, host.id, clock),
    suspendQueue: createSuspendQueue(clock),
    listSuspended: coalesce(() => dependencies.suspendedList.write(suspendedDomains(inventory))),
    observe: createOriginObserver(clock),
    stamps: createStampFiles(clock),
    startedAt: new Date(clock.now()).toISOString(),
    phase: 'starting',
  }
  const operations = operationsOf(plane)
  const policies = createPolicyEnforcer(plane, operations)
  let retrying: Promise<void> | null = null

  engine.onEvent(({ what, cache, disk, reason }) => {
    void plane.journal.record({ what, why: reason, who: 'engine', result: 'seen', cache, disk })
  })
  engine.setEpochRaiser((disk) => raiseEpoch(plane, disk))

  return {
    operations,
    restore: () => restore(plane),
    retry: () => {
      retrying ??= retry(plane).finally(() => (retrying = null))
      return retrying
    },
    reconcileVms: createVmReconciler(plane),
    async observeActivities() {
      await observeActivities(plane)
      // Whoever is suspended is not waited for: the others are looked at meanwhile.
      policies.enforce().catch(() => {})
    },
    vmNames: () => vmNames(plane.inventory),
    diskNames: () => [...plane.inventory.disks.keys()],
    async close({ drainMilliseconds }) {
      await policies.stop()
      await close(plane, retrying, drainMilliseconds)
    },
  }
}

function operationsOf(plane: ControlPlane): Operations {
  const { journal } = plane
  return {
    'status.show': status(plane),
    'engine.status': engineStatus(plane),
    'doctor.run': doctor(plane),
    'cache.list': cacheList(plane),
    'cache.show': cacheShow(plane),
    'disk.list': diskList(plane),
    'disk.show': diskShow(plane),
    'device.list': deviceList(plane),
    'stats.show': stats(plane),
    'event.list': eventList(plane),
    'vm.list': vmList(plane),
    'vm.show': vmShow(plane),
    'checkpoint.list': checkpointList(plane),
    'checkpoint.show': checkpointShow(plane),
    'policy.list': policyList(plane),
    'policy.show': policyShow(plane),
    'lease.list': leaseList(plane),
    'lease.show': leaseShow(plane),
    'lease.take': recorded(journal, 'lease.take', leaseTake(plane), (_, result) => ({
      disk: result?.lease?.disk ?? null,
    })),
    'cache.create': recorded(journal, 'cache.create', cacheCreate(plane), ({ name }) => ({ cache: name })),
    'cache.delete': recorded(journal, 'cache.delete', cacheDelete(plane), ({ name }) => ({ cache: name })),
    'cache.import': recorded(journal, 'cache.import', cacheImport(plane), (_, result) => ({
      cache: result?.cache?.name ?? null,
    })),
    'cache.scrub': recorded(journal, 'cache.scrub', cacheScrub(plane), ({ name }) => ({ cache: name })),
    'device.add': recorded(journal, 'device.add', deviceAdd(plane), ({ cache }) => ({ cache })),
    'device.remove': recorded(journal, 'device.remove', deviceRemove(plane), ({ cache }) => ({ cache })),
    'device.replace': recorded(journal, 'device.replace', deviceReplace(plane), ({ cache }) => ({ cache })),
    'cache.attach': recorded(journal, 'cache.attach', cacheAttach(plane), ({ cache, name }, result) => ({
      cache,
      disk: result?.disk?.disk ?? name,
    })),
    'disk.set': recorded(journal, 'disk.set', diskSet(plane), ({ name }) => ({ disk: name })),
    'disk.resolve': recorded(journal, 'disk.resolve', diskResolve(plane), ({ name }) => ({ disk: name })),
    'cache.set': recorded(journal, 'policy.set', cacheSet(plane), ({ name }) => ({ cache: name })),
    'host.set': recorded(journal, 'policy.set', hostSet(plane), () => ({})),
    'vm.set': recorded(journal, 'policy.set', vmSet(plane), ({ name }) => ({ vm: name })),
    'vm.define': recorded(journal, 'vm.define', vmDefine(plane), ({ name }) => ({ vm: name })),
    'vm.delete': recordedForEach(journal, 'vm.delete', vmDelete(plane), 'vm'),
    'vm.adopt': recordedForEach(journal, 'vm.adopt', vmAdopt(plane), 'vm'),
    'vm.release': recordedForEach(journal, 'vm.release', vmRelease(plane), 'vm'),
    'vm.start': recordedForEach(journal, 'vm.start', vmStart(plane), 'vm'),
    'vm.suspend': recordedForEach(journal, 'vm.suspend', vmSuspend(plane), 'vm'),
    'vm.resume': recordedForEach(journal, 'vm.resume', vmResume(plane), 'vm'),
    'checkpoint.move': recordedForEach(journal, 'checkpoint.move', checkpointMove(plane), 'vm'),
    'checkpoint.delete': recordedForEach(journal, 'checkpoint.delete', checkpointDelete(plane), 'vm'),
    'vm.stop': recordedForEach(journal, 'vm.stop', vmStop(plane), 'vm'),
    'vm.attach': recordedForEach(journal, 'cache.attach', vmAttach(plane)),
    'cache.detach': recordedForEach(journal, 'cache.detach', cacheDetach(plane)),
    'disk.flush': recordedForEach(journal, 'disk.flush', diskFlush(plane)),
    'disk.invalidate': recordedForEach(journal, 'disk.invalidate', diskInvalidate(plane)),
  }
}

/** Every tenure ends before the process does: the next engine then trusts what it finds. */
async function close(plane: ControlPlane, retrying: Promise<void> | null, drainMilliseconds: number): Promise<void> {
  const { engine, inventory } = plane
  plane.phase = 'stopping'
  await retrying?.catch(() => {})
  const served = (await engine.disks()).flatMap(({ disk }) => inventory.disks.get(disk) ?? [])
  const complete = drainMilliseconds > 0 ? await drain(plane, served, drainMilliseconds) : []
  // Only what the engine has closed well is clean: where that fails, the tenures stay open and the pages are not trusted.
  await engine.close({ drainMilliseconds: 0 })
  const ended = await Promise.allSettled(
    served.map(async (disk) => {
      await endTenure(plane, disk)
      if (complete.includes(disk)) await releaseOrigin(plane, disk)
    }),
  )
  const failure = ended.find((outcome) => outcome.status === 'rejected')
  if (failure !== undefined) throw asVmcacheError(failure.reason)
}

/** Stops serving disks whose origins lack writes as soon as they have them; returns those that have. */
async function drain(
  { clock, engine, inventory }: ControlPlane,
  served: readonly DiskRecord[],
  milliseconds: number,
): Promise<DiskRecord[]> {
  const abort = new AbortController()
  const cancel = clock.after(milliseconds, () => abort.abort())
  const options = { keepLog: true, discardDirty: false, progress: () => {}, signal: abort.signal }
  const lacking = served.filter(({ name }) => inventory.tenures.get(name)?.lacksWrites)
  const outcomes = await Promise.allSettled(lacking.map(({ name }) => engine.detach(name, options)))
  cancel()
  return lacking.filter((_, index) => outcomes[index]!.status === 'fulfilled')
}
