const DELAYS_MILLISECONDS = [0, 200, 500, 1000, 2000, 5000] as const
/** An engine that ran this long was a good one: its end begins a new series. */
const GOOD_MILLISECONDS = 30_000

/**
 * How long to wait before the next engine is spawned: the first restart is at once, those of an engine that ends again and
 * again come at growing distances.
 */
export interface BackOff {
  /** Milliseconds to wait after an engine that ran for `ranMilliseconds`. */
  next(ranMilliseconds: number): number
  /** Ends without a good run in between. */
  readonly failures: number
}

export function createBackOff(): BackOff {
  let failures = 0
  return {
    next(ranMilliseconds) {
      failures = ranMilliseconds >= GOOD_MILLISECONDS ? 1 : failures + 1
      return DELAYS_MILLISECONDS[Math.min(failures, DELAYS_MILLISECONDS.length) - 1]!
    },
    get failures() {
      return failures
    },
  }
}
