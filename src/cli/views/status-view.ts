import type { EngineDocument, StatusDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable } from '../table.js'
import { formatDuration } from '../../base/units.js'
import { jobTable } from './job-view.js'
import { count, since, state } from './text.js'

/** `vmcache status`: one screen. */
export async function statusText(status: StatusDocument, screen: Screen): Promise<string> {
  const { engine, counts, attention, jobs } = status
  const { paint } = screen
  const running = `engine ${engine.state} ${since(engine.startedAt, screen.now)} (${engine.version})`
  const things = [count(counts.caches, 'cache'), count(counts.disks, 'disk'), count(counts.vms, 'VM')].join(', ')
  const parts = [`${paint.strong(engine.host)}  ${running}   ${things}   ${rebootText(engine, screen)}`]
  if (attention.length > 0) {
    const rows = await renderTable(
      [
        { head: '  OBJECT', value: ({ object }) => `  ${object}` },
        { head: 'STATE', value: (entry) => state(entry.state, paint) },
        { head: 'WHY', value: ({ reason }) => reason },
        { head: 'WHAT TO DO', value: ({ mend }) => mend },
      ],
      attention,
      screen,
    )
    parts.push(`${paint.warning('attention')}\n${withoutHead(rows)}`)
  }
  const running_ = jobs.filter((job) => job.state === 'running')
  if (running_.length > 0) parts.push(`jobs\n${await jobTable(running_, screen)}`)
  if (counts.caches === 0) parts.push('no caches yet: vmcache cache create NAME --device PATH')
  else if (counts.disks === 0)
    parts.push(`no disks yet: vmcache cache attach ${status.caches[0]?.name ?? 'CACHE'} IMAGE`)
  return parts.join('\n')
}

/** `vmcache engine status`. */
export function engineProperties(engine: EngineDocument, screen: Screen): string {
  const { paint } = screen
  return renderProperties(
    [
      ['host', `${paint.strong(engine.host)} (${engine.hostId})`],
      ['engine', `${state(engine.state, paint)} ${since(engine.startedAt, screen.now)}, version ${engine.version}`],
      ['pid', String(engine.pid)],
      ['socket', engine.socket],
      ['io', `${count(engine.ioThreads, 'thread')}, ${engine.ioBackend}`],
      ['caches', engine.caches.length === 0 ? 'none' : engine.caches.join(', ')],
      ['reboot', rebootText(engine, screen)],
      ...engine.degraded.map(
        ({ object, state: word, reason, mend }) =>
          ['degraded', `${object} ${state(word, paint)}: ${reason}; ${mend}`] as const,
      ),
    ],
    screen,
  )
}

function rebootText({ safeToReboot: { now, reasons, secondsUntil } }: EngineDocument, { paint }: Screen): string {
  if (now) return paint.good('safe to reboot')
  const wait = secondsUntil === null ? '' : `, about ${formatDuration(secondsUntil)}`
  return `${paint.bad('NOT safe to reboot without waiting')}: ${reasons.join('; ')}${wait}`
}

function withoutHead(table: string): string {
  return table.slice(table.indexOf('\n') + 1)
}
