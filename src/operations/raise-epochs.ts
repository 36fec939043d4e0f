import { VmcacheError } from '../base/errors.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'

/**
 * A disk that is served without its log is written behind the back of what its log holds. Its epoch rises, in the lease, the stamp and
 * the tenure, so that whoever finds the log later sees that it is older than its disk. Raises each disk once; what
 * fails is tried again at the next call.
 */
export async function raiseEpochs(plane: ControlPlane): Promise<void> {
  const { engine, inventory, journal } = plane
  for (const { disk: name, state } of await engine.disks()) {
    const record = inventory.disks.get(name)
    if (state !== 'direct' || record === undefined || record.readOnly || inventory.raised.has(name)) continue
    inventory.raised.add(name)
    try {
      const epoch = await raiseEpoch(plane, record)
      await journal.record({
        what: 'lease.raise',
        why: 'the disk is served without its log',
        who: 'engine',
        result: `epoch ${epoch}`,
        disk: name,
        cache: record.cache,
      })
    } catch {
      inventory.raised.delete(name)
    }
  }
}

async function raiseEpoch({ clock, host, inventory, stamps, state }: ControlPlane, disk: DiskRecord): Promise<number> {
  const { name, origin } = disk
  const tenure = inventory.tenures.get(name)
  const lease = disk.lease === null ? null : await state.leases.find(disk.lease)
  if (lease?.host !== host.id || tenure === undefined) {
    throw new VmcacheError('LEASE_HELD', `disk ${name}: this host does not hold the lease of ${origin}`)
  }
  const epoch = lease.epoch + 1
  const raised = { ...tenure, epoch }
  const next = { ...lease, epoch, changedAt: new Date(clock.now()).toISOString() }
  await state.transaction(async (stores) => {
    if (!(await stores.leases.compareAndSet(lease, next))) {
      throw new VmcacheError('LEASE_HELD', `disk ${name}: another host took the lease of ${origin}`)
    }
    await stores.tenures.save(raised)
  })
  inventory.epochs.set(name, epoch)
  inventory.tenures.set(name, raised)
  if (tenure.stampId !== null) {
    await stamps.write(origin, { id: tenure.stampId, hostId: host.id, hostName: host.name, disk: name, epoch })
  }
  return epoch
}
