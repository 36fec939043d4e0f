import { VmcacheError } from '../base/errors.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { LeaseRecord } from '../state/lease-store.js'
import type { ControlPlane } from './control-plane.js'
import type { ObservedOrigin } from './observe-origin.js'
import type { Stamp } from './stamps.js'

/**
 * The key under which hosts that share a state database know an origin: equal for what is surely one origin, different for what
 * only has the same name on two hosts. A world-wide name or the URI of a remote export says it alone; a file says it by path and
 * inode (one file of a storage that is mounted at one place has both alike); all else belongs to its host.
 */
export function leaseKey({ kind, uri, inode }: ObservedOrigin, host: string): string {
  if (kind === 'file') return `file:${uri}#${inode}`
  const isGlobal = kind === 'nbd' ? /^nbd:\/\/(?!localhost|127\.|\[::1\])/.test(uri) : uri.includes('/wwn-')
  return isGlobal ? uri : `${host}:${uri}`
}

/** The path or URI in a key: what people know the origin by. */
export function originOfLease(key: string): string {
  return key.replace(/^file:(.*)#\d+$/, '$1').replace(/^[0-9a-f]{32}:(?=\/|nbd)/, '')
}

/** A disk whose origin was seen. */
export type LeasedDisk = DiskRecord & { readonly lease: string }

/**
 * Takes the lease of the disk's origin, or keeps it, and returns its epoch. The epoch rises where that is asked for, and with every change of hands; LEASE_HELD
 * where another host holds it, by the database or by the `stamp` that was found beside the image.
 */
export async function takeLease(
  plane: ControlPlane,
  disk: LeasedDisk,
  stamp: Stamp | null,
  { rises }: { rises: boolean },
): Promise<number> {
  const { state, host, clock } = plane
  if (stamp !== null && stamp.hostId !== host.id) throw heldByStamp(disk, stamp)
  const previous = await state.leases.find(disk.lease)
  if (previous !== null && previous.host !== null && previous.host !== host.id)
    throw await heldByLease(plane, disk, previous)
  const highest = Math.max(previous?.epoch ?? 0, stamp?.epoch ?? 0)
  const keeps = !rises && previous?.host === host.id && highest > 0
  const epoch = keeps ? highest : highest + 1
  const next: LeaseRecord = {
    origin: disk.lease,
    host: host.id,
    disk: disk.name,
    epoch,
    changedAt: new Date(clock.now()).toISOString(),
  }
  if (previous?.host === next.host && previous.disk === next.disk && previous.epoch === epoch) return epoch
  if (await state.leases.compareAndSet(previous, next)) return epoch
  throw new VmcacheError('LEASE_HELD', `origin ${disk.origin}: another host took its lease at the same time`, {
    hint: 'try again to see which',
  })
}

/** Nobody holds it any more; its epoch stays, as none is used twice. */
export async function releaseLease({ state, host, clock }: ControlPlane, disk: DiskRecord): Promise<void> {
  if (disk.lease === null) return
  const held = await state.leases.find(disk.lease)
  if (held === null || held.host !== host.id) return
  const changedAt = new Date(clock.now()).toISOString()
  await state.leases.compareAndSet(held, { ...held, host: null, disk: null, changedAt })
}

/** Refuses to read an origin that another host may write. */
export async function refuseForeignWriter(plane: ControlPlane, disk: LeasedDisk, stamp: Stamp | null): Promise<void> {
  if (stamp !== null && stamp.hostId !== plane.host.id) throw heldByStamp(disk, stamp)
  const lease = await plane.state.leases.find(disk.lease)
  if (lease !== null && lease.host !== null && lease.host !== plane.host.id) throw await heldByLease(plane, disk, lease)
}

function heldByStamp({ origin }: DiskRecord, stamp: Stamp): VmcacheError {
  return new VmcacheError(
    'LEASE_HELD',
    `origin ${origin} is held by host ${stamp.hostName} as disk ${stamp.disk}: its stamp says so`,
    {
      hint: `detach it there: vmcache cache detach ${stamp.disk}; if that host is gone for good: vmcache lease take ${origin} --fenced`,
      details: { host: stamp.hostName, disk: stamp.disk, epoch: stamp.epoch },
    },
  )
}

async function heldByLease({ state }: ControlPlane, { origin }: DiskRecord, lease: LeaseRecord): Promise<VmcacheError> {
  const holder = (await state.hosts.list()).find(({ id }) => id === lease.host)
  const name = holder?.name ?? lease.host
  return new VmcacheError('LEASE_HELD', `origin ${origin} is held by host ${name} as disk ${lease.disk}`, {
    hint: `detach it there: vmcache cache detach ${lease.disk}; if that host is gone for good: vmcache lease take ${origin} --fenced`,
    details: { host: name, disk: lease.disk, epoch: lease.epoch },
  })
}
