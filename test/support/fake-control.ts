import { mkdirSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmcacheError } from '../../src/base/errors.js'
import { controlSocketPath } from '../../src/protocol/control/control-client.js'
import type { JobDocument } from '../../src/protocol/control/documents.js'
import { methodOf, type Operation, type RequestOf, type ResponseOf } from '../../src/protocol/control/routes.js'

/** A job that runs until it was asked for so often, and then ends with the result or the error. */
export interface LongJob<Result> {
  readonly polls: number
  readonly ends: Result | VmcacheError
}

type Answer<O extends Operation> = ResponseOf<O> | VmcacheError | LongJob<ResponseOf<O>>
/** What each operation answers: a document, an error, a job that takes a while, or a function of the request. */
export type Answers = { [O in Operation]?: Answer<O> | ((request: RequestOf<O>) => Answer<O>) }

/** An engine that is only its control socket: it answers from a table and remembers what it was asked. */
export interface FakeControl {
  readonly runDirectory: string
  /** What was asked, in order. */
  readonly requests: { operation: Operation; request: Record<string, unknown>; waitMilliseconds: number | null }[]
  readonly cancelled: string[]
  /** The table; may be changed between requests. */
  answers: Answers
  metrics: string
  close(): Promise<void>
}

/** An engine would hold a question for a running job as long as it was asked to. */
const LONGEST_WAIT_MILLISECONDS = 100

interface RunningJob {
  document: JobDocument
  polls: number
  ends: unknown
}

export async function startFakeControl(runDirectory: string, answers: Answers = {}): Promise<FakeControl> {
  mkdirSync(runDirectory, { recursive: true })
  const jobs = new Map<string, RunningJob>()
  const server = createServer((request, response) => {
    answer(request).then(
      ({ status, body }) => response.writeHead(status).end(body),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  const fake: FakeControl = {
    runDirectory,
    requests: [],
    cancelled: [],
    answers,
    metrics: '',
    close: () => closed(server),
  }

  async function answer(message: IncomingMessage): Promise<{ status: number; body: string }> {
    const url = new URL(message.url ?? '/', 'http://engine')
    if (url.pathname === '/metrics') return { status: 200, body: fake.metrics }
    const operation = url.pathname.replace(/^\/v1\//, '').replace('/', '.') as Operation
    const isChange = methodOf(operation) === 'POST'
    const wait = url.searchParams.get('waitMilliseconds')
    const request = isChange ? JSON.parse(await bodyOf(message)) : queryOf(url)
    fake.requests.push({ operation, request, waitMilliseconds: wait === null ? null : Number(wait) })
    try {
      const document = documentFor(operation, request, isChange)
      const isRunning = operation === 'job.show' && (document as JobDocument).state === 'running'
      if (isRunning) await sleep(Math.min(Number(wait), LONGEST_WAIT_MILLISECONDS))
      return { status: 200, body: JSON.stringify(document) }
    } catch (error) {
      if (!(error instanceof VmcacheError)) throw error
      return { status: 400, body: JSON.stringify({ error: error.toDocument() }) }
    }
  }

  function documentFor(operation: Operation, request: Record<string, unknown>, isChange: boolean): unknown {
    if (operation === 'job.show' && jobs.has(String(request['id']))) return polled(jobs.get(String(request['id']))!)
    if (operation === 'job.cancel' && jobs.has(String(request['id']))) return cancel(jobs.get(String(request['id']))!)
    const entry: unknown = fake.answers[operation]
    const found: unknown = typeof entry === 'function' ? (entry as (request: unknown) => unknown)(request) : entry
    if (found === undefined) throw new VmcacheError('NOT_FOUND', `the fake engine has no answer to ${operation}`)
    if (found instanceof VmcacheError) throw found
    if (!isChange) return found
    const { polls, ends } = isLongJob(found) ? found : { polls: 0, ends: found }
    const job: RunningJob = { document: runningJob(`job-${jobs.size + 1}`, operation), polls, ends }
    jobs.set(job.document.id, job)
    if (polls === 0) end(job)
    return { job: job.document, result: job.document.result }
  }

  function polled(job: RunningJob): JobDocument {
    if (job.document.state === 'running' && job.polls-- <= 0) end(job)
    return job.document
  }

  function cancel(job: RunningJob): unknown {
    fake.cancelled.push(job.document.id)
    job.document = { ...job.document, state: 'cancelled', endedAt: ENDED_AT }
    return { job: job.document, result: { changed: true, job: job.document } }
  }

  const socket = controlSocketPath(runDirectory)
  rmSync(socket, { force: true })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socket, resolve))
  return fake
}

/** The environment in which a command line finds the fake engine, and nothing of this machine. */
export function environmentOf(directory: string): Record<string, string> {
  return {
    VMCACHE_USER: '1',
    VMCACHE_STATE_DIR: join(directory, 'state'),
    VMCACHE_RUN_DIR: join(directory, 'run'),
    XDG_CONFIG_HOME: join(directory, 'config'),
    VMCACHE_CONFIG: '',
    VMCACHE_HOST: '',
    NODE_ENV: '',
    FORCE_COLOR: '',
    NO_COLOR: '',
    TZ: 'UTC',
  }
}

const CREATED_AT = '2026-11-20T03:04:00.000Z'
const ENDED_AT = '2026-11-20T03:04:05.000Z'

function runningJob(id: string, kind: string): JobDocument {
  return {
    id,
    kind,
    object: 'something',
    state: 'running',
    progress: { done: 1024, total: 4096, unit: 'bytes', note: null },
    createdAt: CREATED_AT,
    endedAt: null,
    result: null,
    error: null,
  }
}

function end(job: RunningJob): void {
  const failure = job.ends instanceof VmcacheError ? job.ends.toDocument() : null
  job.document = {
    ...job.document,
    state: failure === null ? 'done' : 'failed',
    endedAt: ENDED_AT,
    result: failure === null ? job.ends : null,
    error: failure,
  }
}

function isLongJob(found: unknown): found is LongJob<unknown> {
  return typeof found === 'object' && found !== null && 'polls' in found && 'ends' in found
}

/** Every value is text; a key that is repeated is a list. */
function queryOf(url: URL): Record<string, unknown> {
  const keys = [...new Set(url.searchParams.keys())]
  return Object.fromEntries(
    keys.map((key) => {
      const values = url.searchParams.getAll(key)
      return [key, values.length === 1 ? values[0] : values]
    }),
  )
}

async function bodyOf(message: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of message.setEncoding('utf8')) text += String(part)
  return text
}

async function closed(server: Server): Promise<void> {
  const end = new Promise((resolve) => server.close(resolve))
  server.closeAllConnections()
  await end
}
