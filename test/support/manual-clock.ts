import type { Clock } from '../../src/base/clock.js'

/** Time that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Moves on, calling what is due in order, with a turn of the event loop after each. */
  advance(milliseconds: number): Promise<void>
  /** Milliseconds until the next timer, or null. */
  readonly nextDelay: number | null
}

export function manualClock(startMilliseconds = Date.parse('2026-01-01T00:00:00Z')): ManualClock {
  let now = 0
  let timers: { at: number; callback: () => void }[] = []

  return {
    now: () => startMilliseconds + now,
    monotonic: () => now,
    after(milliseconds, callback) {
      const timer = { at: now + milliseconds, callback }
      timers.push(timer)
      return () => {
        timers = timers.filter((other) => other !== timer)
      }
    },
    async advance(milliseconds) {
      const end = now + milliseconds
      await turn()
      for (;;) {
        const next = [...timers].sort((one, other) => one.at - other.at)[0]
        if (next === undefined || next.at > end) break
        now = next.at
        timers = timers.filter((timer) => timer !== next)
        next.callback()
        await turn()
      }
      now = end
      await turn()
    },
    get nextDelay() {
      return timers.length === 0 ? null : Math.min(...timers.map(({ at }) => at)) - now
    },
  }
}

/** Lets everything that waits for nothing but promises run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
