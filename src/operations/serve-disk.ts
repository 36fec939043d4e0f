import { VmcacheError } from '../base/errors.js'
import type { FoundLog } from '../engine/engine.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import { shareOf } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { leaseKey, refuseForeignWriter, releaseLease, takeLease, type LeasedDisk } from './lease.js'
import type { ObservedOrigin } from './observe-origin.js'
import { grantedMode, guardOrigin, releaseOrigin } from './origin-guard.js'
import { openTenure, whyChanged } from './origin-tenure.js'
import { policyKey, policyOf } from './policies.js'
import type { Stamp } from './stamps.js'
import type { Undo } from './undo.js'

export interface ServeOptions {
  /** The attachment was not recorded before: where a step fails nothing of it stays. */
  readonly isNew: boolean
  /** The log that the cache holds of it; null where it holds none. */
  readonly log: FoundLog | null
  /** When its newest frame was written, in milliseconds since 1970; null where that is not known. */
  readonly newestFrameAt: number | null
  /** Why the disk is served from its origin, without its log; null where its cache is open. */
  readonly withoutLog: string | null
  /** Whether the cache lacks a device, which may hold a part of the log. */
  readonly isCut: boolean
}

/** The first epoch of what is only ever read: nobody needs the right to write it. */
const READ_ONLY_EPOCH = 1

/**
 * Serves a disk whose origin was just observed. Lease, stamp, intention and tenure are written down before the data plane
 * touches anything, so an engine that dies in between goes on from there when it comes back. Returns why the clean pages of
 * its log had to be dropped; null where they are kept, or where there are none.
 */
export async function serveDisk(
  plane: ControlPlane,
  wanted: DiskRecord,
  seen: ObservedOrigin,
  undo: Undo,
  { isNew, log, newestFrameAt, withoutLog, isCut }: ServeOptions,
): Promise<string | null> {
  const { engine, host, inventory, sockets, stamps, state } = plane
  const record: LeasedDisk = { ...wanted, lease: wanted.lease ?? leaseKey(seen, host.id) }
  const { name } = record
  const undoNew: Undo = isNew ? undo : () => {}
  const ownPolicy = {
    host: host.id,
    level: 'disk',
    object: name,
    policy: policyOf(inventory.policies, 'disk', name),
  } as const

  const found = seen.kind === 'file' ? await stamps.read(seen.uri) : null
  const before = inventory.tenures.get(name) ?? null
  const lacksWrites = (found?.lacksWrites ?? false) || (before?.lacksWrites ?? false)
  if (found?.lacksWrites === true && found.hostId === host.id && !isNew) inventory.stampedLacking.add(name)
  if (lacksWrites) refuseWithoutWholeLog(record, { isNew, withoutLog, isCut })
  // What the disk writes now the log, or the part of it that is missing, never sees: it must not be believed when it is back.
  const rises = isNew || isCut || withoutLog !== null
  const epoch = await takeRight(plane, record, before, found, undoNew, rises)
  const isExclusive = record.exclusive
  const changed = isCut
    ? `a device of cache ${record.cache} is missing`
    : whyChanged({ tenure: before, seen, stamp: found, isExclusive, epoch, log, newestFrameAt })
  // A whole cache without a log of the disk: nothing was ever written back.
  if (lacksWrites && log !== null && changed !== null) throw originChanged(record, changed)
  const stampId = await stampImage(plane, record, seen, found, { epoch, lacksWrites }, undoNew)

  const tenure = { ...(await openTenure(plane, record, seen, stampId, epoch)), lacksWrites }
  await state.transaction(async (stores) => {
    await stores.disks.save(record)
    await stores.tenures.save(tenure)
    if (isNew) await stores.policies.save(ownPolicy)
  })
  undoNew('forget the attachment', () => forgetDisk(plane, name))
  inventory.disks.set(name, record)
  inventory.tenures.set(name, tenure)
  inventory.stampedLacking.delete(name)
  inventory.epochs.set(name, epoch)
  if (!isNew && before !== null) {
    // What ended before has not begun again.
    undo('put back the tenure', async () => {
      const ended = { ...before, lacksWrites: inventory.tenures.get(name)?.lacksWrites ?? before.lacksWrites }
      inventory.tenures.set(name, ended)
      await state.tenures.save(ended)
    })
  }

  // What the origin lacks already is written to it under the guard, or not at all.
  if (lacksWrites) await guardOrigin(plane, record)
  const granted = withoutLog === null ? await grantedMode(plane, record) : record.mode
  if (!lacksWrites) {
    undo('release the origin', async () => {
      const isServed = (await engine.disks()).some(({ disk }) => disk === name)
      if (!isServed) await releaseOrigin(plane, record)
    })
  }

  const listenDescriptor = await sockets.listen(record.socket)
  undoNew('close the socket', () => sockets.close(record.socket))
  const { logId, cache, origin, replacement, maxBytes, readOnly, blockBytes, socket } = record
  const settings = { name, logId, cache, origin, replacement, maxBytes, readOnly, blockBytes }
  const served = await engine.attach({
    ...settings,
    ...shareOf(inventory, record),
    mode: granted,
    epoch,
    listenDescriptor,
    socket,
    trustCleanPages: changed === null,
    originIsWhole: !isNew && before !== null && !lacksWrites,
    withoutLog,
    imageFormatAllowed: !isNew,
    writeBack: record.writeBack,
  })
  undo('stop serving the disk', () =>
    engine.detach(name, {
      keepLog: !isNew,
      discardDirty: false,
      progress: () => {},
      signal: new AbortController().signal,
    }),
  )
  // The log of a cache that was imported may know what neither stamp nor tenure do.
  if (served.dirtyBytes > 0) await guardOrigin(plane, record)
  if (served.sizeBytes !== tenure.sizeBytes) {
    // Only the connection shows the size of an export.
    if (before !== null) await engine.invalidate(name)
    await inventory.tenureTurns(name, async () => {
      const measured = { ...(inventory.tenures.get(name) ?? tenure), sizeBytes: served.sizeBytes }
      await state.tenures.save(measured)
      inventory.tenures.set(name, measured)
    })
  }
  inventory.identities.set(name, seen.identity)
  inventory.diskTroubles.delete(name)
  return log === null ? null : changed
}

/** Removes intention and tenure, from the database and from memory. */
export async function forgetDisk({ host, inventory, state }: ControlPlane, name: string): Promise<void> {
  await state.transaction(async (stores) => {
    await stores.disks.delete(host.id, name)
    await stores.policies.delete(host.id, 'disk', name)
    await stores.tenures.delete(host.id, name)
  })
  inventory.disks.delete(name)
  inventory.policies.delete(policyKey('disk', name))
  inventory.tenures.delete(name)
  inventory.epochs.delete(name)
  inventory.identities.delete(name)
  inventory.diskTroubles.delete(name)
  inventory.stampedLacking.delete(name)
  inventory.withheldModes.delete(name)
  inventory.throughCache.delete(name)
  inventory.allocations.delete(name)
  inventory.whyDirect.delete(name)
}

/** What an origin lacks is in its log alone: while not all of that is there the disk waits. */
function refuseWithoutWholeLog(
  { name, origin, cache }: DiskRecord,
  { isNew, withoutLog, isCut }: Pick<ServeOptions, 'isNew' | 'withoutLog' | 'isCut'>,
): void {
  if (isNew) {
    throw new VmcacheError(
      'DIRTY_DATA',
      `origin ${origin} lacks writes that a cache of this host holds: its stamp says so`,
      {
        hint: `bring that cache back: vmcache cache import --device PATH...; or lose the writes: vmcache lease take ${origin} --discard-dirty`,
      },
    )
  }
  const missing = withoutLog ?? (isCut ? `a device of cache ${cache} is missing` : null)
  if (missing === null) return
  throw new VmcacheError(
    'DIRTY_DATA',
    `disk ${name} waits for what its origin lacks: ${missing}`,
    isCut
      ? {
          hint: `bring it back; or go on without it, from what is there or from the origin: vmcache disk resolve ${name} --keep cache|origin`,
        }
      : {},
  )
}

function originChanged({ name, origin }: DiskRecord, reason: string): VmcacheError {
  return new VmcacheError(
    'ORIGIN_CHANGED',
    `disk ${name}: its cache holds writes that origin ${origin} lacks, and ${reason}`,
    {
      hint: `find out who wrote it; then let it go on from what the cache has, or from the origin: vmcache disk resolve ${name} --keep cache|origin`,
      details: { disk: name },
    },
  )
}

async function takeRight(
  plane: ControlPlane,
  record: LeasedDisk,
  before: TenureRecord | null,
  stamp: Stamp | null,
  undo: Undo,
  rises: boolean,
): Promise<number> {
  if (record.readOnly) {
    await refuseForeignWriter(plane, record, stamp)
    return before === null ? READ_ONLY_EPOCH : before.epoch + (rises ? 1 : 0)
  }
  const epoch = await takeLease(plane, record, stamp, { rises })
  undo('release the lease', () => releaseLease(plane, record))
  return epoch
}

/** Returns the id of the stamp; null where the origin carries none. */
async function stampImage(
  { host, random, stamps }: ControlPlane,
  record: DiskRecord,
  seen: ObservedOrigin,
  found: Stamp | null,
  says: Pick<Stamp, 'epoch' | 'lacksWrites'>,
  undo: Undo,
): Promise<string | null> {
  if (record.readOnly || seen.kind !== 'file') return null
  const id = found?.id ?? random.id()
  const stamp = { id, hostId: host.id, hostName: host.name, disk: record.name, ...says }
  if (!(await stamps.write(seen.uri, stamp))) return null
  undo('remove the stamp', () => stamps.remove(seen.uri, id))
  return id
}
