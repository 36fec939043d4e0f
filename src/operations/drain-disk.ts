import { VmcacheError } from '../base/errors.js'
import { formatDuration, formatSize } from '../base/units.js'
import type { EngineDisk } from '../engine/engine.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import type { OperationContext } from './operation.js'

/** So long an origin may refuse everything before a command that waits for it gives up: a restart of the storage is shorter. */
const PATIENCE_MILLISECONDS = 60_000
const LOOK_MILLISECONDS = 1000

type Draining = Pick<OperationContext, 'progress' | 'signal'>

/**
 * Does `work`, which ends when the origin of a served disk has what its cache holds. DIRTY_DATA where the origin does not take it, with
 * `otherwise` as what else can be done; the disk then goes on as it was. INTERRUPTED where `signal` is raised before.
 */
export async function drainDisk<Result>(
  plane: ControlPlane,
  name: string,
  { progress, signal }: Draining,
  otherwise: string | null,
  work: (draining: Draining) => Promise<Result>,
): Promise<Result> {
  const { clock } = plane
  const abort = new AbortController()
  const cancel = (): void => abort.abort()
  signal.addEventListener('abort', cancel, { once: true })
  if (signal.aborted) cancel()
  const before = await servedNow(plane, name)
  let leastDirty = Infinity
  let movedAt = clock.monotonic()
  let refusal: string | null = null
  let stop: () => void = () => undefined
  const look = async (): Promise<void> => {
    const disk = await servedNow(plane, name)
    if (disk === undefined || disk.reason === null || disk.dirtyBytes < leastDirty) movedAt = clock.monotonic()
    leastDirty = Math.min(leastDirty, disk?.dirtyBytes ?? 0)
    if (clock.monotonic() - movedAt >= PATIENCE_MILLISECONDS) {
      refusal = disk?.reason ?? null
      cancel()
    } else lookLater()
  }
  const lookLater = (): void => {
    stop = clock.after(LOOK_MILLISECONDS, () => void look().catch(lookLater))
  }
  lookLater()
  try {
    return await work({ progress, signal: abort.signal })
  } catch (error) {
    const failure = refusal === null ? asVmcacheError(error) : new VmcacheError('ORIGIN_FAILED', refusal)
    const holds = (await servedNow(plane, name).catch(() => undefined)) ?? before
    if (failure.code !== 'ORIGIN_FAILED' || holds === undefined || holds.dirtyBytes === 0) throw failure
    throw refusedByOrigin(holds, failure, otherwise)
  } finally {
    stop()
    stop = () => undefined
    signal.removeEventListener('abort', cancel)
  }
}

async function servedNow({ engine }: ControlPlane, name: string): Promise<EngineDisk | undefined> {
  return (await engine.disks()).find(({ disk }) => disk === name)
}

function refusedByOrigin(
  { disk, dirtyBytes, dirtyAgeSeconds }: EngineDisk,
  cause: VmcacheError,
  otherwise: string | null,
): VmcacheError {
  const age = dirtyAgeSeconds === null ? '' : `, the oldest for ${formatDuration(dirtyAgeSeconds)}`
  return new VmcacheError(
    'DIRTY_DATA',
    `disk ${disk} holds ${formatSize(dirtyBytes)} that its origin lacks${age}, and the origin does not take it: ${cause.message}`,
    {
      hint: `mend the origin and try again${otherwise === null ? '' : `, or ${otherwise}`}`,
      details: { dirtyBytes, dirtyAgeSeconds },
      cause,
    },
  )
}
