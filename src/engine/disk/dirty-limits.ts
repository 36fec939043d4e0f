import type { WriteBackSettings } from '../../model/write-back.js'

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
/** A limit must leave room for what is being destaged. */
const HIGHEST_PART = 0.9

/** @param logBytes most that the log may hold */
export function dirtyLimitsOf(settings: WriteBackSettings, logBytes: number): DirtyLimits {
  const highBytes = Math.min(settings.dirtyHighBytes ?? logBytes * HIGH_PART, logBytes * HIGHEST_PART)
  const lowBytes = Math.min(settings.dirtyLowBytes ?? logBytes * LOW_PART, highBytes / 2)
  return { lowBytes, highBytes, ageMilliseconds: settings.dirtyAgeSeconds * 1000 }
}
