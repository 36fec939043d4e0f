import type { FoundLog } from '../engine/engine.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import type { ControlPlane } from './control-plane.js'
import { leaseKey, refuseForeignWriter, releaseLease, takeLease, type LeasedDisk } from './lease.js'
import type { ObservedOrigin } from './observe-origin.js'
import { openTenure, whyChanged } from './origin-tenure.js'
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
  const { engine, host, inventory, locks, sockets, stamps, state } = plane
  const record: LeasedDisk = { ...wanted, lease: wanted.lease ?? leaseKey(seen, host.id) }
  const { name } = record
  const undoNew: Undo = isNew ? undo : () => {}

  const found = seen.kind === 'file' ? await stamps.read(seen.uri) : null
  const before = inventory.tenures.get(name) ?? null
  // What the disk writes now the log, or the part of it that is missing, never sees: it must not be believed when it is back.
  const rises = isNew || isCut || withoutLog !== null
  const epoch = await takeRight(plane, record, before, found, undoNew, rises)
  const isExclusive = record.exclusive
  const changed = isCut
    ? `a device of cache ${record.cache} is missing`
    : whyChanged({ tenure: before, seen, stamp: found, isExclusive, epoch, log, newestFrameAt })
  const stampId = await stampImage(plane, record, seen, found, epoch, undoNew)

  const tenure = await openTenure(plane, record, seen, stampId, epoch)
  await state.transaction(async (stores) => {
    await stores.disks.save(record)
    await stores.tenures.save(tenure)
  })
  undoNew('forget the attachment', () => forgetDisk(plane, name))
  inventory.disks.set(name, record)
  inventory.tenures.set(name, tenure)
  inventory.epochs.set(name, epoch)
  if (!isNew && before !== null) {
    // What ended before has not begun again.
    undo('put back the tenure', async () => {
      inventory.tenures.set(name, before)
      await state.tenures.save(before)
    })
  }

  const listenDescriptor = await sockets.listen(record.socket)
  undoNew('close the socket', () => sockets.close(record.socket))
  const { logId, cache, origin, mode, replacement, minBytes, maxBytes, shares, readOnly, blockBytes, socket } = record
  const settings = { name, logId, cache, origin, mode, replacement, minBytes, maxBytes, shares, readOnly, blockBytes }
  const served = await engine.attach({
    ...settings,
    epoch,
    listenDescriptor,
    socket,
    trustCleanPages: changed === null,
    withoutLog,
    imageFormatAllowed: !isNew,
  })
  undo('stop serving the disk', () =>
    engine.detach(name, {
      keepLog: !isNew,
      discardDirty: false,
      progress: () => {},
      signal: new AbortController().signal,
    }),
  )
  // Nobody else may open an image that lacks writes: it is not what the guest last saw.
  if (served.dirtyBytes > 0 && seen.kind === 'file') await locks.lock(seen.uri)
  if (served.sizeBytes !== tenure.sizeBytes) {
    // Only the connection shows the size of an export.
    if (before !== null) await engine.invalidate(name)
    const measured = { ...tenure, sizeBytes: served.sizeBytes }
    await state.tenures.save(measured)
    inventory.tenures.set(name, measured)
  }
  inventory.identities.set(name, seen.identity)
  inventory.diskTroubles.delete(name)
  return log === null ? null : changed
}

/** Removes intention and tenure, from the database and from memory. */
export async function forgetDisk({ host, inventory, state }: ControlPlane, name: string): Promise<void> {
  await state.transaction(async (stores) => {
    await stores.disks.delete(host.id, name)
    await stores.tenures.delete(host.id, name)
  })
  inventory.disks.delete(name)
  inventory.tenures.delete(name)
  inventory.epochs.delete(name)
  inventory.identities.delete(name)
  inventory.diskTroubles.delete(name)
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
  epoch: number,
  undo: Undo,
): Promise<string | null> {
  if (record.readOnly || seen.kind !== 'file') return null
  const id = found?.id ?? random.id()
  const stamp = { id, hostId: host.id, hostName: host.name, disk: record.name, epoch }
  if (!(await stamps.write(seen.uri, stamp))) return null
  undo('remove the stamp', () => stamps.remove(seen.uri, id))
  return id
}
