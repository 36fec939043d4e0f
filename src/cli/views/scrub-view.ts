import type { ScrubbedCache, ScrubbedDisk } from '../../protocol/control/documents.js'
import { count } from './text.js'

/** `vmcache cache scrub`: what was read of each disk, and what was bad. */
export function scrubText({ cache, disks, skipped }: ScrubbedCache): string {
  if (disks.length + skipped.length === 0) return `cache ${cache}: no disk is cached in it`
  return [...disks.map(diskLine), ...skipped.map(({ disk, reason }) => `${disk}: not read, ${reason}`)].join('\n')
}

function diskLine({ disk, pages, repairedPages, droppedPages, damagedPages }: ScrubbedDisk): string {
  const found = [
    ...(repairedPages === 0 ? [] : [`${repairedPages} bad, read from the origin again`]),
    ...(droppedPages === 0 ? [] : [`${droppedPages} bad, not cached any more`]),
    ...(damagedPages.length === 0
      ? []
      : [`${damagedPages.length} that the origin lacks are damaged: ${some(damagedPages)}`]),
  ]
  return `${disk}: ${count(pages, 'page')} read, ${found.length === 0 ? 'all good' : found.join('; ')}`
}

const SHOWN = 10

function some(pages: readonly number[]): string {
  return `${pages.slice(0, SHOWN).join(', ')}${pages.length > SHOWN ? ' ...' : ''}`
}
