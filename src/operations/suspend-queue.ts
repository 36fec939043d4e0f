import type { Clock } from '../base/clock.js'
import { VmcacheError } from '../base/errors.js'

/**
 * Whoever suspends or resumes a VM waits here until it may: so many begin in an hour, and none is suspended while one is resumed, as somebody
 * waits for that one.
 */
export interface SuspendQueue {
  /** Runs `work` when its turn has come; INTERRUPTED where `signal` is raised before. */
  suspend<Result>(perHour: number | null, signal: AbortSignal, work: () => Promise<Result>): Promise<Result>
  resume<Result>(perHour: number | null, signal: AbortSignal, work: () => Promise<Result>): Promise<Result>
}

const HOUR_MILLISECONDS = 3_600_000
const LOOK_MILLISECONDS = 200

export function createSuspendQueue(clock: Clock): SuspendQueue {
  const suspends = createRate(clock)
  const resumes = createRate(clock)
  let resuming = 0

  const turn = async (signal: AbortSignal, mayBegin: () => boolean): Promise<void> => {
    while (!mayBegin()) {
      if (signal.aborted) throw new VmcacheError('INTERRUPTED', 'cancelled while it waited for its turn')
      await new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve))
    }
  }

  return {
    async suspend(perHour, signal, work) {
      await turn(signal, () => resuming === 0 && suspends.begin(perHour))
      return work()
    },
    async resume(perHour, signal, work) {
      await turn(signal, () => resumes.begin(perHour))
      resuming++
      try {
        return await work()
      } finally {
        resuming--
      }
    },
  }
}

/** How often something began in the last hour. */
function createRate(clock: Clock): { begin(perHour: number | null): boolean } {
  let begun: number[] = []
  return {
    begin(perHour) {
      const now = clock.monotonic()
      begun = begun.filter((at) => at > now - HOUR_MILLISECONDS)
      if (perHour !== null && begun.length >= perHour) return false
      begun.push(now)
      return true
    },
  }
}
