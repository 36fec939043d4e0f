/** What a disk in write-back may have in its log that its origin lacks. */
export interface DirtyLimits {
  /** From here on it is written to the origin as fast as the guest leaves room. */
  readonly lowBytes: number
  /** Writers are slowed so that it never gets to this. */
  readonly highBytes: number
  /** What is older is written to the origin, however little it is. */
  readonly ageMilliseconds: number
}

/** Parts of what a log may hold. */
const LOW_PART = 0.1
const HIGH_PART = 0.5
const AGE_MILLISECONDS = 10_000

/** @param logBytes most that the log may hold */
export function defaultDirtyLimits(logBytes: number): DirtyLimits {
  return { lowBytes: logBytes * LOW_PART, highBytes: logBytes * HIGH_PART, ageMilliseconds: AGE_MILLISECONDS }
}
