import { formatSize } from '../../base/units.js'
import { policyText } from '../../model/vm-policy.js'
import type { DiskDocument, DiskStatsDocument, VmDiskDocument, VmDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { age, dirty, localTime, NONE, orNone, ratio, state, weekdayTime } from './text.js'

/** `vmcache vm list`. `stats`: of the last five minutes. */
export function vmTable(
  vms: readonly VmDocument[],
  disks: readonly DiskDocument[],
  stats: readonly DiskStatsDocument[],
  screen: Screen,
): Promise<string> {
  const { paint } = screen
  const attached = (vm: VmDocument): readonly string[] => vm.disks.flatMap(({ disk }) => disk ?? [])
  const columns: Column<VmDocument>[] = [
    { head: 'VM', value: ({ name }) => name },
    { head: 'STATE', value: (vm) => state(vm.state, paint) },
    { head: 'CACHED', value: cached },
    { head: 'HIT 5m', value: (vm) => ratio(hitRatio(attached(vm), stats)) },
    { head: 'DIRTY', value: (vm) => orNone(dirtyBytes(attached(vm), disks), (bytes) => dirty(bytes, paint)) },
    { head: 'IDLE', value: (vm) => age(idleSeconds(vm)), spare: 2 },
    { head: 'CHECKPOINT', value: ({ checkpoint }) => orNone(checkpoint, checkpointText), spare: 1 },
    { head: 'WHY', value: why, cutTo: 20 },
  ]
  return renderTable(columns, vms, screen)
}

/** `vmcache vm show`. */
export async function vmText(vm: VmDocument, screen: Screen): Promise<string> {
  const { paint } = screen
  const properties = renderProperties(
    [
      ['vm', paint.strong(vm.name)],
      ['uuid', vm.uuid],
      ['state', state(vm.state, paint)],
      ['because', vm.reason],
      ['resumes', vm.resumesAt === null ? null : localTime(vm.resumesAt)],
      ['driver', `${vm.driver} on ${vm.host}`],
      ['memory', orNone(vm.memoryBytes, formatSize)],
      ['cached', cached(vm)],
      ['without engine', vm.state === 'unknown' ? null : WITHOUT_ENGINE[vm.onEngineLoss]],
      ['idle for', idleSeconds(vm) === null ? null : age(idleSeconds(vm))],
      ['awake by', vm.awake.length === 0 ? null : vm.awake.join('; ')],
      ['policy', policyText(vm.policy)],
      ['reserved', vm.reservation === null ? null : reserved(vm.reservation)],
      ['checkpoint', vm.checkpoint === null ? null : checkpointPlace(vm.checkpoint)],
    ],
    screen,
  )
  if (vm.disks.length === 0) return properties
  const columns: Column<VmDiskDocument>[] = [
    { head: 'TARGET', value: ({ target }) => target },
    { head: 'PATH', value: ({ path }) => orNone(path) },
    { head: 'DISK', value: ({ disk }) => orNone(disk) },
    { head: 'ORIGIN', value: ({ origin }) => orNone(origin), cutTo: 20, cutFrom: 'start' },
    { head: 'WHY', value: ({ reason }) => orNone(reason), cutTo: 20 },
  ]
  return `${properties}\n\n${await renderTable(columns, vm.disks, screen)}`
}

function reserved({ cache, bytes }: NonNullable<VmDocument['reservation']>): string {
  return `${formatSize(bytes)} of cache ${cache}`
}

type Checkpoint = NonNullable<VmDocument['checkpoint']>

function checkpointText({ bytes, createdAt }: Checkpoint): string {
  return `${formatSize(bytes)}, ${weekdayTime(createdAt)}`
}

function checkpointPlace({ bytes, cache, path, createdAt }: Checkpoint): string {
  return `${formatSize(bytes)} in ${path ?? `cache ${cache}`}, since ${localTime(createdAt)}`
}

/** Null where it does not run, or was awake within the last minute. */
function idleSeconds({ idleSeconds: seconds, awake }: VmDocument): number | null {
  return awake.length > 0 ? null : seconds
}

const WITHOUT_ENGINE: Readonly<Record<VmDocument['onEngineLoss'], string>> = {
  continues: 'it goes on: none of its disks is cached',
  stops: 'after seconds it is stopped, until an engine runs',
  'io-error': 'after seconds its guest sees I/O errors',
}

function cached({ disks }: VmDocument): string {
  const running = disks.filter(({ path }) => path !== null)
  return running.length === 0 ? NONE : `${running.filter(({ path }) => path === 'cached').length} of ${running.length}`
}

function hitRatio(names: readonly string[], stats: readonly DiskStatsDocument[]): number | null {
  const own = stats.filter(({ disk }) => names.includes(disk))
  const sum = (key: 'reads' | 'readHits'): number => own.reduce((total, entry) => total + entry[key], 0)
  return sum('reads') === 0 ? null : sum('readHits') / sum('reads')
}

function dirtyBytes(names: readonly string[], disks: readonly DiskDocument[]): number | null {
  const own = disks.filter(({ disk }) => names.includes(disk))
  return own.length === 0 ? null : own.reduce((total, disk) => total + disk.dirtyBytes, 0)
}

function why({ reason, disks, resumesAt }: VmDocument): string {
  const direct = disks.flatMap(({ target, path, reason: because }) =>
    path === 'direct' && because !== null ? [`${target} direct: ${because}`] : [],
  )
  if (reason !== null && resumesAt !== null) return `${reason}; resumes ${weekdayTime(resumesAt)}`
  return orNone(reason ?? (direct.join(', ') || null))
}
