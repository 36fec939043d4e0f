import { VmcacheError } from '../base/errors.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import type { ControlPlane } from './control-plane.js'
import { knownDisk } from './inventory.js'

/**
 * Raises the epoch of a disk that goes on without its log, which it may where its origin lacks nothing: what it writes from now on its
 * log never sees, so whoever finds the log later must see that it is older than its disk. The stamp alone is proof enough; where there
 * is none the state database must take it, or the disk may not go on.
 */
export function raiseEpoch(plane: ControlPlane, name: string): Promise<void> {
  return plane.inventory.tenureTurns(name, () => raise(plane, name))
}

async function raise(plane: ControlPlane, name: string): Promise<void> {
  const { host, inventory, journal, locks, stamps } = plane
  const disk = knownDisk(inventory, name)
  const tenure = inventory.tenures.get(name)
  // What is only read stays what its log says.
  if (disk.readOnly || tenure === undefined) return
  const epoch = tenure.epoch + 1
  const raised = { ...tenure, epoch, lacksWrites: false }
  const stamp = {
    id: tenure.stampId ?? '',
    hostId: host.id,
    hostName: host.name,
    disk: name,
    epoch,
    lacksWrites: false,
  }
  const isStamped = tenure.stampId !== null && (await stamps.write(disk.origin, stamp))
  try {
    await saveEpoch(plane, disk, raised)
  } catch (error) {
    if (!isStamped) throw error
    inventory.unsavedEpochs.add(name)
  }
  inventory.epochs.set(name, epoch)
  inventory.tenures.set(name, raised)
  if (tenure.lacksWrites && tenure.kind !== 'nbd') await locks.unlock(disk.origin)
  await journal.record({
    what: 'lease.raise',
    why: 'the disk goes on without its log',
    who: 'engine',
    result: 'ok',
    disk: name,
    cache: disk.cache,
  })
}

/** Takes to the state database the epochs that it did not take when they rose. */
export async function saveEpochs(plane: ControlPlane): Promise<void> {
  const { inventory } = plane
  for (const name of inventory.unsavedEpochs) {
    await inventory.tenureTurns(name, async () => {
      const disk = inventory.disks.get(name)
      const tenure = inventory.tenures.get(name)
      if (disk !== undefined && tenure !== undefined) await saveEpoch(plane, disk, tenure)
      inventory.unsavedEpochs.delete(name)
    })
  }
}

async function saveEpoch({ clock, host, state }: ControlPlane, disk: DiskRecord, tenure: TenureRecord): Promise<void> {
  const lease = disk.lease === null ? null : await state.leases.find(disk.lease)
  if (lease?.host !== host.id) throw lost(disk)
  const next = { ...lease, epoch: Math.max(lease.epoch, tenure.epoch), changedAt: new Date(clock.now()).toISOString() }
  await state.transaction(async (stores) => {
    if (!(await stores.leases.compareAndSet(lease, next))) throw lost(disk)
    await stores.tenures.save(tenure)
  })
}

function lost({ name, origin }: DiskRecord): VmcacheError {
  return new VmcacheError('LEASE_HELD', `disk ${name}: this host does not hold the lease of ${origin} any more`)
}
