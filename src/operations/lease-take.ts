import { VmcacheError } from '../base/errors.js'
import { defaultDiskName } from '../model/names.js'
import type { LeaseDocument } from '../protocol/control/documents.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { ControlPlane } from './control-plane.js'
import { findLease, type FoundLease } from './lease-document.js'
import type { Operations } from './operation.js'

/**
 * Makes this host the one that may write an origin, under a higher epoch. Its holder must have let go, or be vouched for as `fenced`: off, and
 * never writing the origin again. What only the holder's cache has is lost with that, and must be given up by name.
 */
export function leaseTake(plane: ControlPlane): Operations['lease.take'] {
  return async (request) => {
    const found = await findLease(plane, request.origin)
    const { document, seen } = found
    const isOurs = document?.hostId === plane.host.id
    if (isAttached(plane, found) || (isOurs && document.lacksWrites === false)) return unchanged(request, document)
    if (document !== null && document.hostId !== null) refuse(plane, seen.uri, document, request)
    if (request.dryRun) {
      return { changed: true, dryRun: true, steps: stepsOf(plane, found), lease: document }
    }
    await take(plane, found)
    return { changed: true, lease: (await findLease(plane, request.origin)).document }
  }
}

function unchanged({ dryRun }: RequestOf<'lease.take'>, lease: LeaseDocument | null) {
  return { changed: false, ...(dryRun ? { dryRun, steps: [] } : {}), lease }
}

/** A disk of this host holds its lease already; what its cache has is its own. */
function isAttached({ inventory }: ControlPlane, { seen }: FoundLease): boolean {
  return [...inventory.disks.values()].some(
    ({ name, origin }) => origin === seen.uri || inventory.identities.get(name) === seen.identity,
  )
}

function refuse(
  { host }: ControlPlane,
  origin: string,
  { host: name, hostId, disk, lacksWrites }: LeaseDocument,
  { fenced, discardDirty }: RequestOf<'lease.take'>,
): void {
  const isForeign = hostId !== host.id
  const holder = isForeign ? `host ${name}` : 'this host'
  if (isForeign && !fenced) {
    throw new VmcacheError('REFUSED', `origin ${origin} is held by ${holder} as disk ${disk}`, {
      hint: `let go there: vmcache cache detach ${disk}; only if that host is off and stays off: --fenced`,
      details: { host: name, disk, lacksWrites },
    })
  }
  if (lacksWrites === false || discardDirty) return
  throw new VmcacheError(
    'DIRTY_DATA',
    `origin ${origin} ${lacksWrites === null ? 'may lack' : 'lacks'} writes that the cache of ${holder} holds for disk ${disk}; how much, only that cache knows`,
    {
      hint: `complete the origin there: vmcache cache detach ${disk}, or without an engine: vmcache cache recover --device PATH...; or lose those writes: --discard-dirty`,
      details: { host: name, disk, lacksWrites },
    },
  )
}

/** Every step may be repeated: where one fails, the stamp that is found is the old one, and taking it again goes on from there. */
async function take(plane: ControlPlane, { seen, key, record, stamp, document }: FoundLease): Promise<void> {
  const { clock, host, random, stamps, state } = plane
  const epoch = (document?.epoch ?? 0) + 1
  const disk = stamp?.disk ?? defaultDiskName(seen.uri)
  const changedAt = new Date(clock.now()).toISOString()
  if (!(await state.leases.compareAndSet(record, { origin: key, host: host.id, disk: null, epoch, changedAt }))) {
    throw new VmcacheError('LEASE_HELD', `origin ${seen.uri}: another host took its lease at the same time`, {
      hint: `see: vmcache lease show ${seen.uri}`,
    })
  }
  if (seen.kind !== 'file') return
  if (stamp !== null) await stamps.remove(seen.uri, stamp.id)
  // The holder finds it if it comes back after all, and does not write the image any more.
  await stamps.write(seen.uri, {
    id: random.id(),
    hostId: host.id,
    hostName: host.name,
    disk,
    epoch,
    lacksWrites: false,
  })
}

function stepsOf({ host }: ControlPlane, { seen, document }: FoundLease): string[] {
  const { uri, kind } = seen
  const epoch = (document?.epoch ?? 0) + 1
  const holder = document?.host ?? null
  return [
    `take the lease of ${uri}${holder === null ? '' : ` from host ${holder}`} for host ${host.name}, epoch ${epoch}`,
    ...(holder === null || document?.lacksWrites === false ? [] : [`give up what the cache of host ${holder} holds`]),
    ...(kind === 'file' ? [`write a stamp beside ${uri}`] : []),
  ]
}
