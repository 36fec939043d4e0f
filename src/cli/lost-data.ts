import { formatDuration, formatSize } from '../base/units.js'

interface Dirty {
  readonly dirtyBytes: number
  readonly dirtyAgeSeconds: number | null
}

/** What --discard-dirty would lose of these disks or caches, in words; null where nothing is dirty. */
export function lostData(objects: readonly Dirty[]): string | null {
  const bytes = objects.reduce((sum, { dirtyBytes }) => sum + dirtyBytes, 0)
  if (bytes === 0) return null
  const oldest = Math.max(0, ...objects.map(({ dirtyAgeSeconds }) => dirtyAgeSeconds ?? 0))
  return `discarding ${formatSize(bytes)} that the origin lacks, the oldest written ${formatDuration(oldest)} ago`
}
