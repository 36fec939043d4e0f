import { VmcacheError } from '../base/errors.js'
import { formatDuration, formatSize } from '../base/units.js'
import type { EngineDisk } from '../engine/engine.js'
import type { DiskPart } from '../model/write-back.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { exclusively, knownDisk } from './inventory.js'
import { leaseKey, takeLease } from './lease.js'
import type { OperationContext, Operations } from './operation.js'
import { guardOrigin, lacksWrites, releaseOrigin } from './origin-guard.js'
import { endTenure } from './origin-tenure.js'
import { refuseClosedCache, resumeDisk } from './resume-disk.js'

/**
 * Lets a disk go on that waits because its origin is not as its log left it, or because that log is damaged or cut where the origin lacks
 * it: from what the cache has (which is written to the origin, as far as it can be read), or from the origin as it is (which loses what the
 * cache has, and so needs `discardDirty`). Either way the disk then begins with a new, empty log.
 */
export function diskResolve(plane: ControlPlane): Operations['disk.resolve'] {
  const { engine, inventory } = plane
  return async (request, context) => {
    const { name, keep, discardDirty, dryRun } = request
    const record = knownDisk(inventory, name)
    const served = (await engine.disks()).find(({ disk }) => disk === name)
    if (served !== undefined && served.state !== 'failed') {
      const unchanged = { changed: false, disk: await diskDocument(plane, name), ...NOTHING }
      return dryRun ? { ...unchanged, dryRun, steps: [] } : unchanged
    }
    refuseClosedCache(plane, record.cache)
    const loss = await lossOf(plane, record, served)
    if (keep === 'origin' && loss !== null && !discardDirty) throw lossRefused(record, loss)
    if (dryRun) {
      const disk = await diskDocument(plane, name)
      return { changed: true, dryRun, steps: stepsOf(record, loss, keep), disk, ...NOTHING }
    }
    const written = await exclusively(inventory, `disk ${name}`, async () => {
      if (served !== undefined) await letGo(plane, record, context)
      return resolve(plane, record, keep, context)
    })
    await resumeDisk(plane, record)
    return { changed: true, disk: await diskDocument(plane, name), ...written }
  }
}

const NOTHING = { writtenBytes: 0, lostPages: [], damages: 0 }

/** Every step may be repeated: what was written to the origin is settled in the log, and the log goes before the guard does. */
async function resolve(
  plane: ControlPlane,
  record: DiskRecord,
  keep: DiskPart,
  { progress, signal }: OperationContext,
): Promise<Pick<Awaited<ReturnType<Operations['disk.resolve']>>, 'writtenBytes' | 'lostPages' | 'damages'>> {
  const { engine, host, inventory, observe, stamps } = plane
  const { name, cache, logId, origin } = record
  let written: { writtenBytes: number; lostPages: readonly number[]; damages: number } = NOTHING
  if (keep === 'cache') {
    const seen = await observe(origin)
    const stamp = seen.kind === 'file' ? await stamps.read(seen.uri) : null
    const leased = { ...record, lease: record.lease ?? leaseKey(seen, host.id) }
    const epoch = await takeLease(plane, leased, stamp, { rises: false })
    await guardOrigin(plane, record)
    written = await engine.destageLog(cache, logId, { disk: name, epoch, origin, progress, signal })
  }
  // A log that had nothing dirty is still there: with it goes what nobody trusts any more.
  await engine.discardLog(cache, logId)
  await releaseOrigin(plane, record)
  inventory.stampedLacking.delete(name)
  return { ...written, lostPages: [...written.lostPages] }
}

/** Ends the serving of a disk that failed; its log stays on the devices as it is. */
async function letGo(plane: ControlPlane, record: DiskRecord, { progress, signal }: OperationContext): Promise<void> {
  const { engine, inventory } = plane
  await engine.detach(record.name, { keepLog: true, discardDirty: true, progress, signal })
  inventory.diskTroubles.set(record.name, {
    state: 'failed',
    reason: 'it failed, and its resolving was not finished',
    mend: `vmcache disk resolve ${record.name} --keep cache|origin`,
  })
  await endTenure(plane, record)
}

/** What only the cache has, in words; null where that is nothing. */
async function lossOf(plane: ControlPlane, record: DiskRecord, served: EngineDisk | undefined): Promise<string | null> {
  const { clock, engine } = plane
  const { name, cache, logId } = record
  const dirty = served === undefined ? await engine.dirtyOf(cache, logId) : null
  if (dirty === null) {
    return lacksWrites(plane, name) ? `what only its cache has${reasonOf(served)}: nobody can say how much` : null
  }
  const { dirtyBytes, newestFrameAt, isDamaged } = dirty
  if (dirtyBytes === 0) return null
  const age = formatDuration(Math.max(0, (clock.now() - newestFrameAt) / 1000))
  return `${formatSize(dirtyBytes)} that only its cache has, the newest written ${age} ago${isDamaged ? ', not all of it readable' : ''}`
}

function reasonOf(served: EngineDisk | undefined): string {
  const reason = served?.reason ?? null
  return reason === null ? '' : ` (${reason})`
}

function lossRefused({ name }: DiskRecord, loss: string): VmcacheError {
  return new VmcacheError('DIRTY_DATA', `disk ${name}: keeping its origin as it is loses ${loss}`, {
    hint: `write it to the origin: vmcache disk resolve ${name} --keep cache; or lose it: --keep origin --discard-dirty`,
  })
}

function stepsOf({ name, cache, origin }: DiskRecord, loss: string | null, keep: DiskPart): string[] {
  return [
    ...(loss === null ? [] : [keep === 'cache' ? `write to ${origin} ${loss}` : `lose ${loss}`]),
    `free the chunks of disk ${name} in cache ${cache}`,
    `serve disk ${name} with a new, empty log`,
  ]
}
