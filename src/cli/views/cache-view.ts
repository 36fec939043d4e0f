import { formatSize } from '../../base/units.js'
import type { CacheDocument, CacheStatsDocument } from '../../protocol/control/documents.js'
import { indexBytesFor } from '../index-memory.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { deviceTable } from './device-view.js'
import { age, count, dirty, ratio, state } from './text.js'

/** Bytes of the chunks that are no disk's: checkpoints, mirrors and what is promised to them. */
function lockedBytes({ chunks, chunkSizeBytes }: CacheDocument): number {
  return (chunks.checkpoint + chunks.mirror + chunks.reserved) * chunkSizeBytes
}

function devices(cache: CacheDocument): string {
  const wrong = cache.devices.filter((device) => device.state !== 'ok')
  return wrong.length === 0
    ? String(cache.devices.length)
    : `${cache.devices.length} (${wrong.length} ${wrong[0]!.state})`
}

/** `vmcache cache list`. `stats`: of the last five minutes. */
export function cacheTable(
  caches: readonly CacheDocument[],
  stats: readonly CacheStatsDocument[],
  screen: Screen,
): Promise<string> {
  const { paint } = screen
  const columns: Column<CacheDocument>[] = [
    { head: 'CACHE', value: ({ name }) => name },
    { head: 'STATE', value: (cache) => state(cache.state, paint) },
    { head: 'SIZE', value: ({ sizeBytes }) => formatSize(sizeBytes) },
    { head: 'FREE', value: ({ chunks, chunkSizeBytes }) => formatSize(chunks.free * chunkSizeBytes) },
    { head: 'DISKS', value: ({ disks }) => String(disks.length) },
    { head: 'DIRTY', value: ({ dirtyBytes }) => dirty(dirtyBytes, paint) },
    { head: 'OLDEST', value: ({ dirtyAgeSeconds }) => age(dirtyAgeSeconds), spare: 2 },
    { head: 'LOCKED', value: (cache) => formatSize(lockedBytes(cache)), spare: 3 },
    { head: 'HIT 5m', value: ({ name }) => ratio(stats.find(({ cache }) => cache === name)?.hitRatio ?? null) },
    { head: 'INDEX', value: ({ indexBytes }) => formatSize(indexBytes), spare: 4 },
    { head: 'DEVICES', value: devices, spare: 1 },
  ]
  return renderTable(columns, caches, screen)
}

/** What is said after `vmcache cache create`. */
export function createdText(cache: CacheDocument, changed: boolean): string {
  const what = `${formatSize(cache.sizeBytes)} on ${count(cache.devices.length, 'device')}`
  const index = `its index needs up to ${formatSize(indexBytesFor(cache.sizeBytes))} of memory`
  return `cache ${cache.name} ${changed ? 'is created' : 'was already there'}: ${what}; ${index}`
}

/** `vmcache cache show`. */
export async function cacheProperties(cache: CacheDocument, screen: Screen): Promise<string> {
  const { paint } = screen
  const { chunks, chunkSizeBytes } = cache
  const size = (number: number): string => formatSize(number * chunkSizeBytes)
  const properties = renderProperties(
    [
      ['cache', paint.strong(cache.name)],
      ['host', cache.host],
      ['state', state(cache.state, paint)],
      ['size', `${formatSize(cache.sizeBytes)}, ${size(chunks.free)} free`],
      ['disks use', size(chunks.disk)],
      ['locked', formatSize(lockedBytes(cache))],
      [
        'dirty',
        dirty(cache.dirtyBytes, paint) +
          (cache.dirtyAgeSeconds === null ? '' : `, oldest ${age(cache.dirtyAgeSeconds)}`),
      ],
      ['chunks', `${chunks.total} of ${formatSize(chunkSizeBytes)}, ${chunks.free} free`],
      ['block', formatSize(cache.blockSizeBytes)],
      ['index', `${formatSize(cache.indexBytes)} of memory`],
      ['disks', cache.disks.length === 0 ? `none: vmcache cache attach ${cache.name} IMAGE` : cache.disks.join(', ')],
    ],
    screen,
  )
  return `${properties}\n\n${await deviceTable(cache.devices, screen)}`
}
