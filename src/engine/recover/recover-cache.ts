/** engine/recover/: writes what a cache holds to the origins, without an engine, so that a VM can be started from its image. */
import { systemClock } from '../../base/clock.js'
import { VmcacheError, messageOf } from '../../base/errors.js'
import { bootId } from '../../base/system-calls.js'
import type { CacheRecoverDocument, RecoveredDisk } from '../../protocol/control/cache-recover.js'
import { readHeaders } from '../check/check-cache.js'
import { checkDevices } from '../check/check-devices.js'
import { Findings } from '../check/findings.js'
import type { Device } from '../device/device.js'
import { lockDevice, type DeviceLock } from '../device/lock-device.js'
import { openDevice } from '../device/open-device.js'
import { destageLog } from '../disk/destage-log.js'
import type { Progress } from '../engine.js'
import { planRecovery, type FoundChunk } from '../log/recovery.js'
import { openOrigin } from '../origin/open-origin.js'
import { PoolChunks } from '../pool/pool-chunks.js'
import { Pool, type FoundChunkPlace } from '../pool/pool.js'

const ORIGIN_CLOSE_MILLISECONDS = 10_000

/** A log that holds what its origin lacks. */
export interface DirtyDisk {
  readonly disk: string
  readonly logId: string
  readonly origin: string
  readonly epoch: number
  readonly dirtyBytes: number
  /** When its newest frame was written, in milliseconds since 1970. */
  readonly newestFrameAt: number
}

/** The right to write an origin, for as long as it is not released. */
export interface OriginRight {
  /** Writes down that the origin has everything. */
  complete(): Promise<void>
  release(): Promise<void>
}

export interface RecoverOptions {
  /** Null: all of them. */
  readonly disk: string | null
  readonly dryRun: boolean
  /** Keeps others off the origin; rejects where it may not be written. */
  readonly claim: (disk: DirtyDisk, hostId: string) => Promise<OriginRight>
  readonly progress: (disk: string, ...progress: Parameters<Progress>) => void
  readonly signal: AbortSignal
}

/**
 * Opens all devices of a cache that no engine has (IN_USE where one does) and writes what each log holds to its origin. A disk that fails
 * does not stop the others. A log that was written is closed: whoever opens the cache next finds it clean, and warm.
 */
export async function recoverCache(paths: readonly string[], options: RecoverOptions): Promise<CacheRecoverDocument> {
  const locks: DeviceLock[] = []
  const devices: Device[] = []
  try {
    for (const path of paths) {
      locks.push(await lockDevice(path))
      devices.push(await openDevice(path))
    }
    if (options.dryRun) return await lookAt(devices, options)
    const pool = await Pool.open(devices, { allowMissing: false })
    const disks: RecoveredDisk[] = []
    for (const logId of [...pool.logs.keys()]) {
      options.signal.throwIfAborted()
      const recovered = await recoverLog(pool, logId, options)
      if (recovered !== null) disks.push(recovered)
    }
    return {
      cache: pool.cacheName,
      cacheId: pool.cacheId,
      changed: disks.some(({ ok, writtenBytes }) => ok || writtenBytes > 0),
      disks: disks.sort((a, b) => (a.disk < b.disk ? -1 : 1)),
    }
  } finally {
    for (const device of devices) await device.close()
    for (const lock of locks) await lock.release()
  }
}

/** What would be written; writes nothing at all. */
async function lookAt(
  opened: readonly Device[],
  { disk: wanted, signal }: RecoverOptions,
): Promise<CacheRecoverDocument> {
  const findings = new Findings(false, signal)
  const devices = await checkDevices(opened, findings)
  const { cacheName, cacheId, chunkBytes } = devices[0]!.superblock
  const disks: RecoveredDisk[] = []
  for (const [logId, found] of (await readHeaders(devices, findings)).logs) {
    const disk = await dirtyDisk(chunkBytes, logId, found)
    if (disk !== null && (wanted === null || wanted === disk.disk))
      disks.push({ ...untouched(disk), ok: true, error: null })
  }
  return { cache: cacheName, cacheId, changed: disks.length > 0, dryRun: true, disks }
}

function untouched({ newestFrameAt, epoch: _, ...disk }: DirtyDisk): Omit<RecoveredDisk, 'ok' | 'error'> {
  return { ...disk, newestWriteAt: new Date(newestFrameAt).toISOString(), writtenBytes: 0, lostPages: [] }
}

/** Null where it holds nothing that its origin lacks, or is not asked for. */
async function recoverLog(pool: Pool, logId: string, options: RecoverOptions): Promise<RecoveredDisk | null> {
  const isDoubtful = pool.doubtfulLogs.has(logId)
  const disk = await dirtyDisk(pool.chunkBytes, logId, foundChunks(pool, pool.logs.get(logId)!))
  if (disk === null || (options.disk !== null && options.disk !== disk.disk)) return null
  const outcome = untouched(disk)
  try {
    if (isDoubtful) throw doubtful(disk.disk)
    const { writtenBytes, lostPages } = await write(pool, pool.claim(logId), disk, options)
    return { ...outcome, writtenBytes, lostPages: [...lostPages], ok: true, error: null }
  } catch (error) {
    const failure = error instanceof VmcacheError ? error : new VmcacheError('ORIGIN_FAILED', messageOf(error))
    if (failure.code === 'INTERRUPTED') throw failure
    return { ...outcome, ok: false, error: failure.toDocument() }
  }
}

async function dirtyDisk(chunkBytes: number, logId: string, found: readonly FoundChunk[]): Promise<DirtyDisk | null> {
  const context = { chunkBytes, bootId: bootId(), pastDamage: true }
  const { chunks, dirtyBytes, epoch, lastWrittenAt } = await planRecovery(found, context)
  const newest = chunks.at(-1)?.found.header
  if (newest === undefined || dirtyBytes === 0) return null
  const { diskName, origin } = newest
  return { disk: diskName, logId, origin, epoch, dirtyBytes, newestFrameAt: lastWrittenAt }
}

async function write(
  pool: Pool,
  places: readonly FoundChunkPlace[],
  disk: DirtyDisk,
  { claim, progress, signal }: RecoverOptions,
): Promise<{ writtenBytes: number; lostPages: readonly number[] }> {
  const source = new PoolChunks(pool, places)
  const right = await claim(disk, pool.devices[0]!.superblock.hostId)
  try {
    let written: { writtenBytes: number; lostPages: readonly number[] }
    const origin = await openOrigin(disk.origin, { readOnly: false, imageFormatAllowed: true })
    try {
      const { log, writtenBytes, lostPages } = await destageLog(foundChunks(pool, places), {
        name: disk.disk,
        epoch: disk.epoch,
        origin,
        source,
        bootId: bootId(),
        clock: systemClock,
        pastDamage: false,
        progress: (...each) => progress(disk.disk, ...each),
        signal,
      })
      await log?.close()
      written = { writtenBytes, lostPages }
    } finally {
      await origin.close(ORIGIN_CLOSE_MILLISECONDS)
    }
    await right.complete()
    return written
  } finally {
    await right.release()
  }
}

function foundChunks(pool: Pool, places: readonly FoundChunkPlace[]): FoundChunk[] {
  return places.map((place) => ({ chunk: pool.chunkAt(place), header: place.header }))
}

function doubtful(disk: string): VmcacheError {
  return new VmcacheError(
    'CORRUPT',
    `disk ${disk}: the header of a chunk is damaged, which may have been the newest of its log`,
    { hint: `decide with an engine: vmcache disk resolve ${disk} --keep cache|origin` },
  )
}
