import type { CacheRecord } from '../state/cache-store.js'
import type { DiskRecord } from '../state/disk-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { MEND_ENGINE } from './attention.js'
import type { ControlPlane } from './control-plane.js'
import type { CacheTrouble } from './inventory.js'
import { openRecordedCache } from './open-cache.js'
import { reviewGuards } from './origin-guard.js'
import { foundTenure } from './origin-tenure.js'
import { policyKey, policyOfDisk, policyOfVm } from './policies.js'
import { saveEpochs } from './raise-epoch.js'
import { resumeDisk } from './resume-disk.js'
import { whyClosed } from './why-closed.js'

export interface RestoreReport {
  /** `reason` says why one is not open; null where it is. */
  readonly caches: { readonly name: string; readonly reason: string | null }[]
  /** `reason` says why one is not served; null where it is. */
  readonly disks: { readonly name: string; readonly reason: string | null }[]
}

/** Disks whose recovery begins at a time. */
const AT_ONCE = 8

/** At the start of an engine: opens every recorded cache and serves every recorded disk. One that fails does not stop the others. */
export async function restore(plane: ControlPlane): Promise<RestoreReport> {
  const { clock, host, inventory, journal, previousEnd, state } = plane
  await state.hosts.save({ ...host, seenAt: new Date(clock.now()).toISOString() })
  const image = await state.load(host.id)
  for (const cache of image.caches) inventory.caches.set(cache.name, cache)
  for (const policy of image.policies) inventory.policies.set(policyKey(policy.level, policy.object), policy)
  const { policies } = inventory
  for (const vm of image.vms) inventory.vms.set(vm.uuid, { ...vm, policy: policyOfVm(policies, vm.uuid) })
  for (const checkpoint of image.checkpoints) inventory.checkpoints.set(checkpoint.vm, checkpoint)
  const disks = image.disks.map((disk) => ({ ...disk, ...policyOfDisk(policies, disk) }))
  for (const disk of disks) inventory.disks.set(disk.name, disk)
  for (const lease of image.leases) if (lease.disk !== null) inventory.epochs.set(lease.disk, lease.epoch)
  for (const tenure of image.tenures) {
    // Written down: the engine after this one would take a disk that stays away for one that this one had served.
    const found = foundTenure(tenure, previousEnd)
    if (found.ending !== tenure.ending || found.held !== tenure.held) await state.tenures.save(found)
    inventory.tenures.set(tenure.disk, found)
  }
  await plane.listSuspended().catch(() => {})
  const report = await serveWanted(plane, image.caches, disks)
  await journal.tidy()
  plane.phase = 'running'
  return report
}

/** Tries again what waits, and takes to the state database what it did not take before. Called from time to time. */
export async function retry(plane: ControlPlane): Promise<void> {
  const { clock, host, inventory, journal, state } = plane
  const waiting = <Record extends { name: string }>(
    records: Iterable<Record>,
    troubles: Map<string, { state: string }>,
  ) => [...records].filter(({ name }) => troubles.get(name)?.state === 'waiting' && !inventory.busy.has(name))
  const caches = waiting(inventory.caches.values(), inventory.cacheTroubles)
  await Promise.all(caches.map((cache) => openRecordedCache(plane, cache)))
  const disks = waiting(inventory.disks.values(), inventory.diskTroubles)
  await serveAll(plane, [...disks, ...(await waitingForLog(plane))])
  // A heartbeat for other hosts, and a sign whether the database takes writes.
  await state.hosts.save({ ...host, seenAt: new Date(clock.now()).toISOString() }).catch(() => {})
  await saveEpochs(plane).catch(() => {})
  await reviewGuards(plane).catch(() => {})
  await journal.tidy().catch(() => {})
}

async function serveWanted(
  plane: ControlPlane,
  caches: readonly CacheRecord[],
  disks: readonly DiskRecord[],
): Promise<RestoreReport> {
  const { withoutCaches } = plane
  const opened = await Promise.all(
    caches.map(async (cache) => {
      if (withoutCaches === null) await openRecordedCache(plane, cache)
      else plane.inventory.cacheTroubles.set(cache.name, leftClosed(withoutCaches))
      return { name: cache.name, reason: plane.inventory.cacheTroubles.get(cache.name)?.reason ?? null }
    }),
  )
  return { caches: opened, disks: await serveAll(plane, disks) }
}

/** A cache that this engine does not open; the next one may. */
function leftClosed(reason: string): CacheTrouble {
  return { state: 'failed', reason, mend: MEND_ENGINE, missing: [], corrupt: [] }
}

/** Disks that are served directly and whose cache can be used. */
async function waitingForLog(plane: ControlPlane): Promise<DiskRecord[]> {
  const { engine, inventory } = plane
  const direct = (await engine.disks()).filter(({ state, cache }) => state === 'direct' && !whyClosed(plane, cache))
  return direct.flatMap(({ disk }) => inventory.disks.get(disk) ?? [])
}

async function serveAll(plane: ControlPlane, disks: readonly DiskRecord[]): Promise<RestoreReport['disks']> {
  const { inventory } = plane
  const queue = [...disks]
  const served: { name: string; reason: string | null }[] = []
  const worker = async () => {
    for (let disk = queue.shift(); disk !== undefined; disk = queue.shift()) {
      // It may have been detached or changed while others were served.
      if (inventory.disks.get(disk.name) !== disk) continue
      served.push({ name: disk.name, reason: await reasonOf(resumeDisk(plane, disk)) })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return served.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Null where it succeeds. */
function reasonOf(work: Promise<void>): Promise<string | null> {
  return work.then(
    () => null,
    (error: unknown) => asVmcacheError(error).message,
  )
}
