import type { LeaseDocument } from '../protocol/control/documents.js'
import type { LeaseRecord } from '../state/lease-store.js'
import type { ControlPlane } from './control-plane.js'
import { leaseKey, originOfLease } from './lease.js'
import type { ObservedOrigin } from './observe-origin.js'
import type { Stamp } from './stamps.js'

/** What is known of who may write an origin. */
export interface FoundLease {
  readonly seen: ObservedOrigin
  /** Key of the lease in the state database. */
  readonly key: string
  readonly record: LeaseRecord | null
  /** Null where the origin carries none. */
  readonly stamp: Stamp | null
  /** Null where nobody ever held it. */
  readonly document: LeaseDocument | null
}

/** Looks at an origin that a user named, its stamp and the state database. The stamp decides: every host that reaches the image sees it. */
export async function findLease(plane: ControlPlane, origin: string): Promise<FoundLease> {
  const { host, observe, stamps, state } = plane
  const seen = await observe(origin)
  const stamp = seen.kind === 'file' ? await stamps.read(seen.uri) : null
  const key = leaseKey(seen, host.id)
  const record = await state.leases.find(key)
  return { seen, key, record, stamp, document: await documentOf(plane, seen, record, stamp) }
}

async function documentOf(
  plane: ControlPlane,
  { uri }: ObservedOrigin,
  record: LeaseRecord | null,
  stamp: Stamp | null,
): Promise<LeaseDocument | null> {
  const recorded = record === null ? null : (await leaseDocuments(plane, [record]))[0]!
  if (stamp === null) return recorded
  const { hostId, hostName, disk, epoch, lacksWrites } = stamp
  return {
    origin: uri,
    host: hostName,
    hostId,
    disk,
    epoch: Math.max(epoch, recorded?.epoch ?? 0),
    lacksWrites,
    changedAt: recorded?.hostId === hostId ? recorded.changedAt : null,
  }
}

/** The leases of the state database. Whether a holder that has its own database has writes, nobody else knows. */
export async function leaseDocuments(
  { state }: ControlPlane,
  records: readonly LeaseRecord[],
): Promise<LeaseDocument[]> {
  const names = new Map((await state.hosts.list()).map(({ id, name }) => [id, name]))
  const hosts = [...new Set(records.flatMap(({ host }) => host ?? []))]
  const tenures = (await Promise.all(hosts.map((host) => state.tenures.list(host)))).flat()
  return records.map(({ origin, host, disk, epoch, changedAt }) => {
    const tenure = tenures.find((other) => other.host === host && other.origin === origin)
    return {
      origin: originOfLease(origin),
      host: host === null ? null : (names.get(host) ?? host),
      hostId: host,
      disk,
      epoch,
      lacksWrites: host === null || disk === null ? false : (tenure?.lacksWrites ?? null),
      changedAt,
    }
  })
}
