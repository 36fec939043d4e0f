import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import type { Progress } from '../engine.js'
import type { Pool } from './pool.js'

/** How long it waits before it looks again whether what was written meanwhile is settled. */
const LOOK_MILLISECONDS = 20

/** A disk whose log may have chunks on the device. */
export interface Vacated {
  /** Gives back what it can now; returns how many chunks it has left there. */
  vacate(): Promise<number>
  /** Whether the origin lacks something. */
  isDirty(): boolean
  /** Ends when the origin has everything that was written before. */
  flush(): Promise<void>
}

export interface EmptyDeviceOptions {
  readonly clock: Clock
  readonly progress: Progress
  readonly signal: AbortSignal
}

/**
 * Ends when no chunk of a device that is retired is held. `disks` are those that are served now: one that is served later is asked as well.
 * INTERRUPTED where `signal` is raised; REFUSED where chunks are held that are nobody's.
 */
export async function emptyDevice(
  pool: Pool,
  position: number,
  disks: () => Promise<readonly Vacated[]>,
  { clock, progress, signal }: EmptyDeviceOptions,
): Promise<void> {
  const total = pool.heldOn(position)
  for (;;) {
    if (signal.aborted) throw new VmcacheError('INTERRUPTED', 'cancelled: the cache keeps the device')
    let left = 0
    for (const disk of await disks()) {
      const chunks = await disk.vacate()
      left += chunks
      // What it has there is settled only when the origin has it. What is written from now on is elsewhere.
      if (chunks > 0 && disk.isDirty()) await disk.flush()
    }
    const held = pool.heldOn(position)
    progress(Math.max(0, total - held), total, 'chunks')
    if (held === 0) return
    if (left === 0) {
      throw new VmcacheError('REFUSED', `${held} chunks of the device are in use, but by no disk that is served`, {
        hint: 'vmcache status says which disks are not served, and why',
      })
    }
    await new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve))
  }
}
