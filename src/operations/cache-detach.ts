import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { EngineDisk } from '../engine/engine.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'
import { drainDisk } from './drain-disk.js'
import { exclusively, knownDisk } from './inventory.js'
import { releaseLease } from './lease.js'
import { lacksWrites } from './origin-guard.js'
import { isVmDisk } from './known-vm.js'
import type { OperationContext, Operations } from './operation.js'
import { endTenure } from './origin-tenure.js'
import { forgetDisk } from './serve-disk.js'
import { overTargets } from './targets.js'
import { takeOutOfCache } from './vm-disks.js'

/** Writes what the origins lack, stops serving the disks and gives their chunks back. */
export function cacheDetach(plane: ControlPlane): Operations['cache.detach'] {
  const { inventory } = plane
  return (request, context) =>
    overTargets(request, [...inventory.disks.keys()], context, async (name, inner) => ({
      changed: true,
      steps: await detachDisk(plane, name, request, inner),
    }))
}

type DetachOptions = Pick<RequestOf<'cache.detach'>, 'discardDirty' | 'force' | 'dryRun'>

/** The same for one disk; returns the steps. A VM that runs through it goes on over its own storage. */
export async function detachDisk(
  plane: ControlPlane,
  name: string,
  options: DetachOptions,
  context: OperationContext,
): Promise<string[]> {
  const { engine, inventory } = plane
  const record = knownDisk(inventory, name)
  const served = (await engine.disks()).find(({ disk }) => disk === name) ?? null
  refuseToLose(plane, record, served, options.discardDirty)
  refuseClosedCache(plane, record, options.force)
  const steps = stepsOf(record, served, options.discardDirty)
  if (options.dryRun) return steps
  await exclusively(inventory, `disk ${name}`, async () => {
    const vm = record.vm === null ? undefined : inventory.vms.get(record.vm.uuid)
    if (vm !== undefined && isVmDisk(record)) await takeOutOfCache(plane, vm, record, context)
    await detach(plane, record, served, options, context)
  })
  return steps
}

/**
 * Every step may be repeated, and the intention goes last: a detach that was interrupted is finished by the next one, or the engine
 * serves the disk again when it starts.
 */
async function detach(
  plane: ControlPlane,
  record: DiskRecord,
  served: EngineDisk | null,
  { discardDirty, force }: DetachOptions,
  context: OperationContext,
): Promise<void> {
  const { engine, inventory, locks, sockets, stamps } = plane
  const { name } = record
  if (served !== null) {
    const otherwise = `lose it: vmcache cache detach ${name} --discard-dirty`
    await drainDisk(plane, name, context, otherwise, (draining) =>
      engine.detach(name, { keepLog: false, discardDirty, ...draining }),
    )
    inventory.diskTroubles.set(name, {
      state: 'failed',
      reason: 'it is not served any more, but its detaching was not finished',
      mend: `vmcache cache detach ${name}`,
    })
    await endTenure(plane, record)
  } else if (isOpen(plane, record.cache)) {
    await engine.discardLog(record.cache, record.logId)
  }
  const stampId = inventory.tenures.get(name)?.stampId ?? null
  if (!record.readOnly) await releaseLease(plane, record)
  if (stampId !== null) {
    await stamps.remove(record.origin, stampId).catch((error: unknown) => {
      // Its storage may be gone for good; a stamp that comes back with it is ours and is taken over.
      if (!force) throw error
    })
  }
  if (record.origin.startsWith('/')) await locks.unlock(record.origin)
  await sockets.close(record.socket)
  await forgetDisk(plane, name)
}

function isOpen({ engine }: ControlPlane, cache: string): boolean {
  return engine.caches().some(({ name }) => name === cache)
}

/** What a disk that is not served holds cannot be written to its origin: its log goes only when somebody gives that up. */
function refuseToLose(
  plane: ControlPlane,
  { name, origin }: DiskRecord,
  served: EngineDisk | null,
  discardDirty: boolean,
): void {
  if (served !== null || discardDirty || !lacksWrites(plane, name)) return
  const trouble = plane.inventory.diskTroubles.get(name)
  throw new VmcacheError(
    'DIRTY_DATA',
    `disk ${name} is not served${trouble === undefined ? '' : ` (${trouble.reason})`}: what its origin ${origin} lacks cannot be written there now`,
    { hint: `mend that first: vmcache status; or lose it: vmcache cache detach ${name} --discard-dirty` },
  )
}

/** The log of a disk can only be freed while its cache is open. */
function refuseClosedCache(plane: ControlPlane, { name, cache }: DiskRecord, force: boolean): void {
  if (force || isOpen(plane, cache)) return
  const trouble = plane.inventory.cacheTroubles.get(cache)
  throw new VmcacheError('REFUSED', `disk ${name}: cache ${cache} is not open, so its chunks cannot be freed`, {
    hint: `${trouble?.mend ?? 'see: vmcache status'}; or leave them behind: vmcache cache detach ${name} --force`,
  })
}

function stepsOf(record: DiskRecord, served: EngineDisk | null, discardDirty: boolean): string[] {
  const { name, origin, cache, socket, readOnly } = record
  const dirty = served !== null && served.dirtyBytes > 0 ? formatSize(served.dirtyBytes) : null
  return [
    ...(dirty === null ? [] : [`write ${dirty} to ${origin}${discardDirty ? ', or lose what it refuses' : ''}`]),
    ...(served === null ? [] : [`stop serving disk ${name}`]),
    `free its chunks of cache ${cache}`,
    ...(readOnly ? [] : [`release the lease of ${origin}`]),
    `close ${socket}`,
    `forget disk ${name}`,
  ]
}
