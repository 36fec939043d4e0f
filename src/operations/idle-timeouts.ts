import type { ControlPlane } from './control-plane.js'
import { idleSecondsOf } from './observe-activities.js'
import type { Operations } from './operation.js'

/** A VM that could not be suspended is left alone for so long: trying costs it a moment each time. */
const AGAIN_MILLISECONDS = 3_600_000

/** Suspends VMs that have been idle for as long as their policy says, one after the other. */
export interface IdleTimeouts {
  /** Calls do not overlap: one that comes while another works does nothing. */
  enforce(): Promise<void>
  /** Ends what is under way; a VM that is being suspended goes on. */
  stop(): Promise<void>
}

export function createIdleTimeouts(plane: ControlPlane, suspend: Operations['vm.suspend']): IdleTimeouts {
  const { clock, inventory } = plane
  const abort = new AbortController()
  const triedAt = new Map<string, number>()
  let working: Promise<void> | null = null

  const isDue = (uuid: string, timeoutSeconds: number | null): boolean => {
    if (timeoutSeconds === null || inventory.checkpoints.has(uuid)) return false
    if (clock.monotonic() - (triedAt.get(uuid) ?? -Infinity) < AGAIN_MILLISECONDS) return false
    return (idleSecondsOf(plane, { uuid }) ?? -1) >= timeoutSeconds
  }
  const work = async (): Promise<void> => {
    for (const { uuid, name, policy } of [...inventory.vms.values()]) {
      const { idleTimeoutSeconds } = policy
      if (abort.signal.aborted || !isDue(uuid, idleTimeoutSeconds)) continue
      triedAt.set(uuid, clock.monotonic())
      await suspend(
        {
          ...{ names: [name], all: false, exclude: [], dryRun: false },
          ...{ idleSeconds: idleTimeoutSeconds, perHour: null, atOnce: 1 },
        },
        { who: 'policy', progress: () => {}, signal: abort.signal },
      ).catch(() => {})
      // One that goes on and is idle again is another time.
      if (inventory.checkpoints.has(uuid)) triedAt.delete(uuid)
    }
  }

  return {
    enforce() {
      if (abort.signal.aborted) return Promise.resolve()
      working ??= work().finally(() => (working = null))
      return working
    },
    async stop() {
      abort.abort()
      await working
    },
  }
}
