import { formatDuration, formatSize } from '../../base/units.js'
import type { DiskPhase, PhaseSource } from '../../model/phase.js'
import type { DestageBarrier } from '../../model/write-back.js'
import type {
  Allocation,
  ChangeResult,
  DiskDocument,
  DiskStatsDocument,
  ResolvedDisk,
} from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { age, count, dirty, NONE, orNone, ratio, state } from './text.js'

function mode({ mode: { wanted, inForce } }: DiskDocument): string {
  return wanted === inForce ? inForce : `${inForce} (not ${wanted})`
}

const vmColumn: Column<DiskDocument> = { head: 'VM', value: ({ vm }) => orNone(vm), spare: 2 }

/** `vmcache disk list`. `stats`: of the last five minutes. */
export function diskTable(
  disks: readonly DiskDocument[],
  stats: readonly DiskStatsDocument[],
  screen: Screen,
): Promise<string> {
  const { paint } = screen
  const columns: Column<DiskDocument>[] = [
    { head: 'DISK', value: ({ disk }) => disk },
    { head: 'CACHE', value: ({ cache }) => cache },
    { head: 'STATE', value: (disk) => state(disk.state, paint) },
    {
      head: 'MODE',
      value: (disk) => (disk.mode.reason === null ? mode(disk) : paint.warning(mode(disk))),
      cutTo: 13,
    },
    { head: 'SIZE', value: ({ sizeBytes }) => formatSize(sizeBytes) },
    { head: 'CACHED', value: ({ cachedBytes }) => formatSize(cachedBytes) },
    { head: 'DIRTY', value: ({ dirtyBytes }) => dirty(dirtyBytes, paint) },
    { head: 'OLDEST', value: ({ dirtyAgeSeconds }) => age(dirtyAgeSeconds), spare: 3 },
    { head: 'HIT 5m', value: ({ disk }) => ratio(stats.find((entry) => entry.disk === disk)?.hitRatio ?? null) },
    ...(disks.some(({ vm }) => vm !== null) ? [vmColumn] : []),
    { head: 'ORIGIN', value: ({ origin }) => origin, cutTo: 20, cutFrom: 'start', spare: 1 },
  ]
  return renderTable(columns, disks, screen)
}

const PHASE_SOURCES: Readonly<Record<PhaseSource, string>> = {
  none: '',
  partitions: ', by its partition table',
  traffic: ', by its first requests',
  log: ', as when its cache was begun',
}

function phase({ sectors, source }: DiskPhase): string {
  return `${sectors} ${sectors === 1 ? 'sector' : 'sectors'}${PHASE_SOURCES[source]}`
}

const SHARES: Readonly<Record<Allocation, string | null>> = {
  full: null,
  'best-effort': 'without its min, for which there is no room',
  resting: 'none while its VM is off: others take what it has when they need it',
}

/** `vmcache disk show`. */
export function diskProperties(disk: DiskDocument, screen: Screen): string {
  const { paint } = screen
  const oldest = disk.dirtyAgeSeconds === null ? '' : `, oldest ${age(disk.dirtyAgeSeconds)}`
  const toFlush = disk.secondsToFlush === null ? '' : `, ${age(disk.secondsToFlush)} to flush`
  return renderProperties(
    [
      ['disk', paint.strong(disk.disk)],
      ['state', state(disk.state, paint)],
      ['because', disk.reason],
      ['mode', mode(disk)],
      ['mode because', disk.mode.reason],
      ['uri', disk.uri],
      ['origin', disk.origin],
      ['size', `${formatSize(disk.sizeBytes)}${disk.readOnly ? ', read-only' : ''}`],
      ['cache', disk.cache],
      ['cached', `${formatSize(disk.cachedBytes)} in ${formatSize(disk.allocatedBytes)} of chunks`],
      ['share', SHARES[disk.allocation]],
      ['dirty', `${dirty(disk.dirtyBytes, paint)}${oldest}${toFlush}`],
      ['stuck pages', disk.stuckPages === 0 ? null : paint.bad(`${disk.stuckPages}, refused by the origin`)],
      [
        'lost pages',
        disk.lostPages === 0 ? null : paint.bad(`${disk.lostPages}, not to be read until they are written again`),
      ],
      ['bad pages', disk.badPages === 0 ? null : paint.warning(`${disk.badPages}, read from the origin instead`)],
      ['phase', disk.phase === null ? null : phase(disk.phase)],
      ['vm', disk.vm === null ? null : `${disk.vm} ${disk.target ?? NONE}`],
      ...policyRows(disk),
      ...writeBackRows(disk),
      ['lease', `${disk.lease.host}, epoch ${disk.lease.epoch}`],
    ],
    screen,
  )
}

type PolicyKey = 'replacement' | 'minBytes' | 'maxBytes' | 'shares' | 'writeBack'

function policyRows(disk: Pick<DiskDocument, PolicyKey>): [string, string][] {
  return [
    ['replacement', disk.replacement],
    ['min', formatSize(disk.minBytes)],
    ['max', disk.maxBytes === null ? 'the whole cache' : formatSize(disk.maxBytes)],
    ['shares', String(disk.shares)],
  ]
}

const BARRIERS: Readonly<Record<DestageBarrier, string>> = {
  flush: 'the origin is flushed at each barrier',
  answer: 'the origin answers each barrier, and is flushed every second',
}

/** Of a disk that has to do with write-back. */
function writeBackRows({ mode, writeBack }: Pick<DiskDocument, 'mode' | 'writeBack'>): [string, string][] {
  if (mode.wanted !== 'write-back' && mode.inForce !== 'write-back') return []
  const { order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds } = writeBack
  const limit = (bytes: number | null): string => (bytes === null ? 'default' : formatSize(bytes))
  return [
    ['destage', `${order}, ${BARRIERS[barrier]}`],
    [
      'dirty limits',
      `low ${limit(dirtyLowBytes)}, high ${limit(dirtyHighBytes)}, age ${formatDuration(dirtyAgeSeconds)}`,
    ],
  ]
}

/** What `vmcache disk resolve` did. */
export function resolvedText({ disk, changed, writtenBytes, lostPages, damages }: ChangeResult & ResolvedDisk): string {
  if (!changed) return `${disk.disk} is served: there is nothing to resolve`
  const lost = [
    ...(lostPages.length === 0 ? [] : [`${count(lostPages.length, 'page')} could not be read: ${pageList(lostPages)}`]),
    ...(damages === 0 ? [] : [`in ${count(damages, 'place')} of the log nobody knows what was written`]),
  ]
  const written = writtenBytes === 0 ? '' : `, ${formatSize(writtenBytes)} written to its origin`
  return [`${disk.disk} is ${disk.state} again${written}`, ...lost].join('\n')
}

const MOST_PAGES_NAMED = 8

function pageList(pages: readonly number[]): string {
  const named = pages.slice(0, MOST_PAGES_NAMED).join(', ')
  return pages.length > MOST_PAGES_NAMED
    ? `${named} and ${pages.length - MOST_PAGES_NAMED} more (--json names all)`
    : named
}
