import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { dirtyLimitsOf } from '../engine/disk/dirty-limits.js'
import { PAGE_BYTES } from '../model/geometry.js'
import type { WriteBackSettings } from '../model/write-back.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'

/** What is dirty may get as old as this: longer is no limit. */
const LONGEST_AGE_SECONDS = 7 * 86_400

/**
 * Throws where a disk cannot have these settings.
 *
 * @param maximumBytes most that its log may hold: its max, or the size of its cache; null where neither is known
 */
export function checkWriteBack(settings: WriteBackSettings, maximumBytes: number | null): void {
  const { dirtyLowBytes: low, dirtyHighBytes: high, dirtyAgeSeconds: age } = settings
  if (!Number.isInteger(age) || age < 1 || age > LONGEST_AGE_SECONDS) {
    throw new VmcacheError('USAGE', `the dirty age is ${age} s, expected 1s to 7d`, { details: { seen: age } })
  }
  for (const [name, bytes] of [
    ['low', low],
    ['high', high],
  ] as const) {
    if (bytes !== null && bytes < PAGE_BYTES)
      throw new VmcacheError('BAD_SIZE', `the ${name} dirty limit is ${bytes} bytes, expected at least 4k`)
  }
  if (high !== null && maximumBytes !== null && high >= maximumBytes) {
    throw new VmcacheError(
      'BAD_SIZE',
      `the high dirty limit ${formatSize(high)} is not below the ${formatSize(maximumBytes)} that the disk may use of its cache`,
      { hint: 'give a lower one with --dirty-high, or more room with --max' },
    )
  }
  const highest =
    high ?? (maximumBytes === null ? null : dirtyLimitsOf({ ...settings, dirtyLowBytes: null }, maximumBytes).highBytes)
  if (low !== null && highest !== null && low >= highest) {
    throw new VmcacheError(
      'BAD_SIZE',
      `the low dirty limit ${formatSize(low)} is not below the high one, ${formatSize(highest)}`,
      high === null ? { hint: 'that is half of what the disk may use: give a lower --dirty-low, or --dirty-high' } : {},
    )
  }
}

/** Most that a disk with this max may have in its cache; null where it may have all of a cache that is not open. */
export function mostBytes(
  { engine }: ControlPlane,
  { cache, maxBytes }: Pick<DiskRecord, 'cache' | 'maxBytes'>,
): number | null {
  return maxBytes ?? engine.caches().find(({ name }) => name === cache)?.sizeBytes ?? null
}
