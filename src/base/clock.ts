/** Time as the engine sees it; passed in, so that a simulation can run it. */
export interface Clock {
  /** Milliseconds since 1970, UTC (wall clock: for stamps and reports only). */
  now(): number
  /** Milliseconds that only ever rise (for intervals). */
  monotonic(): number
  /** Calls `callback` once after `milliseconds`; the returned function cancels it. Never keeps the process alive. */
  after(milliseconds: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
