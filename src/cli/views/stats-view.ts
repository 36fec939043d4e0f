import { formatCount, formatMicroseconds, formatRatio, formatSize } from '../../base/units.js'
import type {
  DiskDocument,
  DiskStatsDocument,
  LatencyDocument,
  StatsDocument,
} from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { age, dirty, NONE, orNone, ratio } from './text.js'

const WINDOWS = { '5m': 'last 5 minutes', '1h': 'last hour', '24h': 'last 24 hours', all: 'since the engine started' }

const perSecond = (amount: number, { seconds }: DiskStatsDocument): string =>
  seconds > 0 ? formatCount(amount / seconds) : NONE
const latency = (value: number | null): string => orNone(value, formatMicroseconds)
const both = ({ p50, p99 }: LatencyDocument): string =>
  p50 === null && p99 === null ? NONE : `${latency(p50)} / ${latency(p99)}`

/** `vmcache stats`. `disks` knows how long a flush would take. */
export async function statsTable(
  stats: StatsDocument,
  disks: readonly DiskDocument[],
  screen: Screen,
): Promise<string> {
  const { paint } = screen
  const secondsToFlush = (name: string) => disks.find(({ disk }) => disk === name)?.secondsToFlush ?? null
  const columns: Column<DiskStatsDocument>[] = [
    { head: 'DISK', value: ({ disk }) => disk },
    { head: 'READ/s', value: (disk) => perSecond(disk.reads, disk) },
    { head: 'WRITE/s', value: (disk) => perSecond(disk.writes, disk) },
    { head: 'HIT', value: ({ hitRatio }) => ratio(hitRatio) },
    { head: 'READ p50/p99', value: ({ latencyMicroseconds: { read } }) => both(read), spare: 1 },
    { head: 'WRITE p50/p99', value: ({ latencyMicroseconds: { write } }) => both(write), spare: 2 },
    { head: 'FLUSH p99', value: ({ latencyMicroseconds: { flush } }) => latency(flush.p99), spare: 4 },
    {
      head: 'ORIGIN r/w',
      value: (disk) =>
        disk.seconds > 0 ? `${perSecond(disk.originReads, disk)}/${perSecond(disk.originWrites, disk)}` : NONE,
      spare: 3,
    },
    { head: 'DIRTY', value: ({ dirtyBytes }) => dirty(dirtyBytes, paint) },
    { head: 'OLDEST', value: ({ dirtyAgeSeconds }) => age(dirtyAgeSeconds), spare: 6 },
    { head: 'TO FLUSH', value: ({ disk }) => age(secondsToFlush(disk)), spare: 5 },
  ]
  return `${heading(stats, screen)}\n${await renderTable(columns, stats.disks, screen)}`
}

/** `vmcache stats --latency`. */
export async function latencyTable(stats: StatsDocument, screen: Screen): Promise<string> {
  const kinds = ['read', 'write', 'flush'] as const
  const columns: Column<DiskStatsDocument>[] = [
    { head: 'DISK', value: ({ disk }) => disk },
    ...kinds.flatMap((kind) =>
      (['p50', 'p99', 'p999'] as const).map((rank) => ({
        head: `${kind.toUpperCase()} ${rank.replace('p999', 'p99.9')}`,
        value: (disk: DiskStatsDocument) => latency(disk.latencyMicroseconds[kind][rank]),
        ...(rank === 'p999' ? { spare: 2 } : kind === 'flush' ? { spare: 1 } : {}),
      })),
    ),
  ]
  return `${heading(stats, screen)}\n${await renderTable(columns, stats.disks, screen)}`
}

function heading({ window, caches }: StatsDocument, { paint }: Screen): string {
  const others = (['5m', '1h', '24h', 'all'] as const).filter((name) => name !== window).join('|')
  const lines = [`${WINDOWS[window]} ${paint.faint(`(--window ${others})`)}`]
  for (const cache of caches) {
    const hits =
      cache.hitRatio === null ? 'no reads' : `${formatRatio(cache.hitRatio)} of ${formatCount(cache.reads)} reads hit`
    const device = `${formatSize(cache.deviceReadBytes)} read, ${formatSize(cache.deviceWrittenBytes)} written on devices`
    lines.push(`cache ${paint.strong(cache.cache)}: ${hits}; ${device}`)
  }
  return lines.join('\n')
}
