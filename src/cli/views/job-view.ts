import type { JobDocument } from '../../protocol/control/documents.js'
import { amountText } from '../progress.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { localTime, NONE, since, state } from './text.js'

function took(job: JobDocument, now: number): string {
  return since(job.createdAt, job.endedAt === null ? now : Date.parse(job.endedAt))
}

/** What a running job has done, how a failed one failed. */
function detail(job: JobDocument): string {
  if (job.error !== null) return job.error.message
  return job.state === 'running' && job.progress !== null ? amountText(job.progress) : NONE
}

/** `vmcache job list`. */
export function jobTable(jobs: readonly JobDocument[], screen: Screen): Promise<string> {
  const columns: Column<JobDocument>[] = [
    { head: 'JOB', value: ({ id }) => id },
    { head: 'KIND', value: ({ kind }) => kind },
    { head: 'OBJECT', value: ({ object }) => object, cutTo: 16 },
    { head: 'STATE', value: (job) => state(job.state, screen.paint) },
    { head: 'BEGAN', value: ({ createdAt }) => localTime(createdAt), spare: 2 },
    { head: 'TIME', value: (job) => took(job, screen.now) },
    { head: 'DETAIL', value: detail, cutTo: 24, spare: 1 },
  ]
  return renderTable(columns, jobs, screen)
}

/** `vmcache job show`. */
export function jobProperties(job: JobDocument, screen: Screen): string {
  return renderProperties(
    [
      ['job', screen.paint.strong(job.id)],
      ['kind', job.kind],
      ['object', job.object],
      ['state', state(job.state, screen.paint)],
      ['progress', job.progress === null ? null : amountText(job.progress)],
      ['began', localTime(job.createdAt)],
      ['ended', job.endedAt === null ? null : localTime(job.endedAt)],
      ['time', took(job, screen.now)],
      ['error', job.error === null ? null : screen.paint.bad(job.error.message)],
      ['hint', job.error?.hint ?? null],
    ],
    screen,
  )
}
