import { formatSize } from '../../base/units.js'
import type { CacheRecoverDocument, RecoveredDisk } from '../../protocol/control/cache-recover.js'

/** `vmcache cache recover`: what each disk held, and whether its origin has it now. */
export function recoverText({ cache, disks, dryRun }: CacheRecoverDocument): string {
  if (disks.length === 0) return `cache ${cache}: nothing is dirty in it`
  return disks.map((disk) => lineOf(disk, dryRun === true)).join('\n')
}

function lineOf({ disk, origin, dirtyBytes, writtenBytes, lostPages, error }: RecoveredDisk, isDry: boolean): string {
  if (isDry) return `${disk}: ${formatSize(dirtyBytes)} would be written to ${origin}`
  if (error !== null) return `${disk}: ${formatSize(dirtyBytes)} of ${origin} are still in the cache: ${error.message}`
  const lost = lostPages.length === 0 ? '' : `; pages ${lostPages.join(', ')} could not be read`
  return `${disk}: ${formatSize(writtenBytes)} written to ${origin}${lost}`
}
