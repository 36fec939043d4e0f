import { VmcacheError } from '../../base/errors.js'
import type { Clock } from '../../base/clock.js'
import { formatSize } from '../../base/units.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { DEFAULT_WRITE_BACK, type WriteBackSettings } from '../../model/write-back.js'
import type { DestagedLog, Progress } from '../engine.js'
import type { ChunkSource } from '../log/chunk-source.js'
import type { Log, LogCounters } from '../log/log.js'
import { openLog } from '../log/open-log.js'
import { planRecovery, type FoundChunk } from '../log/recovery.js'
import type { Origin } from '../origin/origin.js'
import { fifo } from '../replacement/fifo.js'
import { Destage } from './destage.js'
import { Fills } from './fills.js'
import { RangeLocks } from './range-locks.js'

/** How often it says how far it is. */
const PROGRESS_MILLISECONDS = 500
/** So long an origin may refuse everything before it is given up. */
const PATIENCE_MILLISECONDS = 60_000
/** How often a drain looks for what the origin refused meanwhile, before it says so. */
const DRAIN_ROUNDS = 4
/** Memory is all that a bound would save here: nobody writes. */
const LIMITS = { lowBytes: 0, highBytes: Number.MAX_SAFE_INTEGER, ageMilliseconds: 0 }

export interface DestageLogOptions {
  /** Of its disk, for errors. */
  readonly name: string
  /** Epoch of the stamp now. */
  readonly epoch: number
  readonly origin: Origin
  readonly source: ChunkSource
  readonly bootId: string
  readonly clock: Clock
  readonly settings?: Pick<WriteBackSettings, 'order' | 'barrier'>
  /** Writes everything that can be read, although something that the origin lacks cannot. */
  readonly pastDamage: boolean
  readonly progress: Progress
  readonly signal: AbortSignal
}

/**
 * Writes what a log holds and its origin lacks to the origin, in the order of the log, without serving its disk; returns the log with nothing
 * dirty in it, to be closed or destroyed, or undefined where it had nothing dirty. What was written stays settled where this fails: CORRUPT where
 * the log is damaged, unless `pastDamage`; ORIGIN_SIZE, ORIGIN_FAILED, INTERRUPTED.
 */
export async function destageLog(
  found: readonly FoundChunk[],
  options: DestageLogOptions,
): Promise<DestagedLog & { readonly log: Log | undefined }> {
  const { name, origin, source, bootId, clock, pastDamage, signal } = options
  const plan = await planRecovery(found, { chunkBytes: source.chunkBytes, bootId, pastDamage })
  const newest = plan.chunks.at(-1)?.found.header
  if (newest === undefined || plan.dirtyBytes === 0) {
    return { log: undefined, writtenBytes: 0, lostPages: [], damages: 0 }
  }
  if (plan.isDirtyDamaged && !pastDamage) throw damaged(name)
  const { sizeBytes } = origin.description
  if (newest.diskBytes !== sizeBytes) {
    throw new VmcacheError(
      'ORIGIN_SIZE',
      `the log of disk ${name} is of ${newest.diskBytes} bytes, its origin has ${sizeBytes}: it is another image`,
    )
  }
  signal.throwIfAborted()
  const { logId, phase } = newest
  const { log } = await openLog(
    plan,
    {
      identity: { logId, diskName: name, origin: newest.origin, diskBytes: sizeBytes, phase },
      epoch: options.epoch,
      bootId,
      source,
      clock,
      counters: uncounted(),
      defer: setImmediate,
      onFailed: () => undefined,
    },
    {
      replacement: fifo.laid(source.chunkBytes / PAGE_BYTES),
      maximumChunks: Number.MAX_SAFE_INTEGER,
      keepPages: true,
      pastDamage,
    },
  )
  // The clean rest is not read: nothing is served from it. It is found again by whoever opens the log next.
  log.endLoad()
  try {
    return { log, ...(await drain(log, phase * SECTOR_BYTES, options)) }
  } catch (error) {
    await log.closeDirty().catch(() => undefined)
    throw error
  }
}

async function drain(log: Log, phaseBytes: number, options: DestageLogOptions): Promise<DestagedLog> {
  const { name, origin, clock, pastDamage, progress, signal } = options
  const before = log.dirtyBytes
  let writtenBytes = 0
  let trouble: string | null = null
  let least = Infinity
  let movedAt = clock.monotonic()
  let giveUp: (error: Error) => void = () => undefined
  const givenUp = new Promise<never>((_, reject) => (giveUp = reject))
  givenUp.catch(() => undefined)
  const destage = new Destage({
    name,
    log,
    origin,
    phaseBytes,
    clock,
    locks: new RangeLocks(),
    fills: new Fills(),
    limits: () => LIMITS,
    settings: () => options.settings ?? DEFAULT_WRITE_BACK,
    guestAt: () => -Infinity,
    written: (bytes) => (writtenBytes += bytes),
    passedBarriers: () => undefined,
    onSettled: () => undefined,
    onTrouble: (reason) => (trouble = reason),
    pastDamage,
    onDamage: () => giveUp(damaged(name)),
  })
  const cancel = (): void =>
    giveUp(new VmcacheError('INTERRUPTED', `cancelled: ${formatSize(log.dirtyBytes)} are left`))
  let stop: () => void = () => undefined
  const look = (): void => {
    const { dirtyBytes } = log
    if (trouble === null || dirtyBytes < least) movedAt = clock.monotonic()
    least = Math.min(least, dirtyBytes)
    progress(before - dirtyBytes, before, 'bytes', trouble ?? undefined)
    if (clock.monotonic() - movedAt >= PATIENCE_MILLISECONDS) giveUp(new VmcacheError('ORIGIN_FAILED', trouble ?? ''))
    stop = clock.after(PROGRESS_MILLISECONDS, look)
  }
  stop = clock.after(PROGRESS_MILLISECONDS, look)
  signal.addEventListener('abort', cancel, { once: true })
  if (signal.aborted) cancel()
  try {
    for (let round = 0; log.dirtyBytes > 0 && round < DRAIN_ROUNDS; round++)
      await Promise.race([destage.drain(), givenUp])
    if (log.dirtyBytes > 0) {
      throw new VmcacheError('ORIGIN_FAILED', `the origin of disk ${name} refuses ${destage.stuckPages} dirty pages`)
    }
    await log.recordSettled()
    return { writtenBytes, lostPages: [...log.badPages], damages: destage.damages }
  } finally {
    stop()
    signal.removeEventListener('abort', cancel)
    await destage.stop()
  }
}

function damaged(name: string): VmcacheError {
  return new VmcacheError(
    'CORRUPT',
    `the log of disk ${name} is damaged where its origin lacks it: what had been stable cannot be read back`,
  )
}

function uncounted(): LogCounters {
  return {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
  }
}
