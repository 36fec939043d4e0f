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
    { head: 'DEVICE/BYTE', value: deviceBytes, spare: 7 },
    ...(stats.disks.some(({ barriers }) => barriers > 0) ? [barrierColumn] : []),
    { head: 'DIRTY', value: ({ dirtyBytes }) => dirty(dirtyBytes, paint) },
    { head: 'OLDEST', value: ({ dirtyAgeSeconds }) => age(dirtyAgeSeconds), spare: 6 },
    { head: 'TO FLUSH', value: ({ disk }) => age(secondsToFlush(disk)), spare: 5 },
  ]
  const advice = stats.disks.flatMap((each) =>
    destageAdvice(
      each,
      disks.find(({ disk }) => disk === each.disk),
    ),
  )
  const table = await renderTable(columns, stats.disks, screen)
  return [heading(stats, screen), table, ...advice.map((line) => paint.warning(line))].join('\n')
}

/** Bytes written to the cache device for each that the guest wrote or a miss filled, pages that were moved apart. */
function deviceBytes({ deviceBytesPerByte: all, relocatedBytesPerByte: moved }: DiskStatsDocument): string {
  if (all === null) return NONE
  const part = moved ?? 0
  return `${(all - part).toFixed(2)}${part < 0.005 ? '' : ` + ${part.toFixed(2)}`}`
}

const barrierColumn: Column<DiskStatsDocument> = {
  head: 'BARRIERS/s in/out',
  value: (disk) => `${perSecond(disk.barriers, disk)}/${perSecond(disk.originBarriers, disk)}`,
  spare: 4,
}

/** Below it a difference is chance. */
const BARRIERS_THAT_COUNT = 100

/** What would help a disk whose origin passes fewer barriers than its guest sets, and what that costs. */
function destageAdvice(stats: DiskStatsDocument, disk: DiskDocument | undefined): string[] {
  const { barriers, originBarriers, dirtyBytes } = stats
  const isBehind = barriers > BARRIERS_THAT_COUNT && originBarriers < barriers * 0.8 && dirtyBytes > 0
  if (!isBehind || disk === undefined || disk.mode.inForce !== 'write-back' || disk.writeBack.order !== 'ordered')
    return []
  return [
    `${stats.disk}: its guest sets ${perSecond(barriers, stats)} barriers a second, its origin passes ${perSecond(originBarriers, stats)}. ` +
      `vmcache policy set --disk ${stats.disk} --destage relaxed writes many at a time; should the cache be lost, the origin may then be in a state that the disk never had`,
  ]
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
