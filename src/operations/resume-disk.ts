import { VmcacheError, type ErrorCode } from '../base/errors.js'
import type { EngineDisk } from '../engine/engine.js'
import type { DiskRecord } from '../state/disk-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { grantedMode } from './origin-guard.js'
import { endedUnseen } from './origin-tenure.js'
import { serveDisk, type ServeOptions } from './serve-disk.js'
import { withUndo } from './undo.js'
import { whyClosed } from './why-closed.js'

/** What may mend itself: storage that is not mounted yet, a server that starts later, a database that is away. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ORIGIN_NOT_FOUND',
  'ORIGIN_FAILED',
  'FAILED',
  'TIMEOUT',
  // A cache that is not open, and a program that has the image open, keep a disk from being served whose origin lacks writes.
  'DIRTY_DATA',
  'IN_USE',
])

/** WRONG_STATE where no disk can have a log in the cache now, with the reason. */
export function refuseClosedCache(plane: ControlPlane, name: string): void {
  const closed = whyClosed(plane, name)
  if (closed === null) return
  throw new VmcacheError('WRONG_STATE', `cache ${name} is not open: ${closed.reason}`, { hint: closed.mend })
}

/**
 * Serves a recorded disk that is not served; directly, from its origin, where its cache cannot be used. One that is served directly gets a
 * log where its cache can be used again. Where a disk cannot be served its trouble is kept in the inventory, with the command that
 * mends it, and the error is thrown.
 */
export async function resumeDisk(plane: ControlPlane, record: DiskRecord): Promise<void> {
  const { engine, inventory } = plane
  const { name } = record
  const served = (await engine.disks()).find(({ disk }) => disk === name)
  if (served !== undefined) return resumeLog(plane, record, served)
  try {
    await exclusively(inventory, `disk ${name}`, () => serveAgain(plane, record))
  } catch (error) {
    const failure = asVmcacheError(error)
    inventory.diskTroubles.set(name, {
      state: PASSING.has(failure.code) ? 'waiting' : failure.code === 'ORIGIN_CHANGED' ? 'changed' : 'failed',
      reason: failure.message,
      mend: failure.hint ?? whyClosed(plane, record.cache)?.mend ?? `vmcache cache detach ${name}`,
    })
    throw failure
  }
}

async function serveAgain(plane: ControlPlane, record: DiskRecord): Promise<void> {
  const closed = whyClosed(plane, record.cache)
  if (closed !== null) return serve(plane, record, directly(`cache ${record.cache} is not open: ${closed.reason}`))
  try {
    await serve(plane, record, await findLog(plane, record))
  } catch (error) {
    const { code, message } = asVmcacheError(error)
    if (code !== 'DEVICE_FAILED') throw error
    await serve(plane, record, directly(message))
  }
}

function directly(reason: string): ServeOptions {
  return { isNew: false, log: null, newestFrameAt: null, withoutLog: reason, isCut: false }
}

async function findLog({ engine, inventory }: ControlPlane, { name, cache, logId }: DiskRecord): Promise<ServeOptions> {
  const log = (await engine.logsOf(cache)).find((found) => found.logId === logId) ?? null
  const tenure = inventory.tenures.get(name)
  const isUnseen = log !== null && tenure !== undefined && endedUnseen(tenure)
  const open = engine.caches().find((other) => other.name === cache)
  return {
    isNew: false,
    log,
    newestFrameAt: isUnseen ? await engine.newestFrameAt(cache, logId) : null,
    withoutLog: null,
    isCut: open?.devices.some(({ state }) => state === 'missing') ?? false,
  }
}

async function serve(plane: ControlPlane, record: DiskRecord, options: ServeOptions): Promise<void> {
  const { name, cache, origin } = record
  const dropped = await withUndo(async (undo) => serveDisk(plane, record, await plane.observe(origin), undo, options))
  if (dropped === null) return
  await plane.journal.record({
    what: 'disk.pages-dropped',
    why: dropped,
    who: 'engine',
    result: 'ok',
    disk: name,
    cache,
  })
}

/** A new log, empty: what the disk wrote meanwhile its old one has not seen. */
async function resumeLog(plane: ControlPlane, record: DiskRecord, served: EngineDisk): Promise<void> {
  const { engine, inventory, journal } = plane
  const { name, cache } = record
  const tenure = inventory.tenures.get(name)
  if (served.state !== 'direct' || tenure === undefined || whyClosed(plane, cache) !== null) return
  await exclusively(inventory, `disk ${name}`, async () => {
    const mode = await grantedMode(plane, record)
    if (mode !== served.mode.wanted) await engine.change(name, { mode })
    await engine.resumeLog(name, tenure.epoch)
  })
  await journal.record({ what: 'disk.log-resumed', who: 'engine', result: 'ok', disk: name, cache })
}
