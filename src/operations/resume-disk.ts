import { VmcacheError, type ErrorCode } from '../base/errors.js'
import type { DiskRecord } from '../state/disk-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { serveDisk } from './serve-disk.js'
import { withUndo } from './undo.js'

/** What may mend itself: storage that is not mounted yet, a server that starts later, a database that is away. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ORIGIN_NOT_FOUND', 'ORIGIN_FAILED', 'FAILED', 'TIMEOUT'])

/** WRONG_STATE where the cache is not open, with the reason. */
export function refuseClosedCache({ engine, inventory }: ControlPlane, name: string): void {
  if (engine.caches().some((cache) => cache.name === name)) return
  const trouble = inventory.cacheTroubles.get(name)
  throw new VmcacheError('WRONG_STATE', `cache ${name} is not open: ${trouble?.reason ?? 'it is being opened'}`, {
    hint: trouble?.mend ?? 'see: vmcache status',
  })
}

/**
 * Serves a recorded disk that is not served. Where it cannot be, its trouble is kept in the inventory, with the command that mends it,
 * and the error is thrown.
 */
export async function resumeDisk(plane: ControlPlane, record: DiskRecord): Promise<void> {
  const { engine, inventory, journal } = plane
  const { name, cache } = record
  try {
    refuseClosedCache(plane, cache)
    const logs = await engine.logsOf(cache)
    const log = logs.find(({ logId }) => logId === record.logId) ?? null
    const dropped = await exclusively(inventory, `disk ${name}`, () =>
      withUndo(async (undo) =>
        serveDisk(plane, record, await plane.observe(record.origin), undo, { isNew: false, log }),
      ),
    )
    if (dropped === null) return
    await journal.record({
      what: 'disk.pages-dropped',
      why: dropped,
      who: 'engine',
      result: 'ok',
      disk: name,
      cache,
    })
  } catch (error) {
    const failure = asVmcacheError(error)
    inventory.diskTroubles.set(name, {
      state: PASSING.has(failure.code) || inventory.cacheTroubles.has(cache) ? 'waiting' : 'failed',
      reason: failure.message,
      mend: failure.hint ?? `vmcache cache detach ${name}`,
    })
    throw failure
  }
}
