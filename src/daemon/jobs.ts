import type { Clock } from '../base/clock.js'
import { VmcacheError } from '../base/errors.js'
import type { Logger } from '../base/logger.js'
import type { Random } from '../base/random.js'
import { asVmcacheError } from '../operations/as-vmcache-error.js'
import type { OperationContext } from '../operations/operation.js'
import type { JobDocument } from '../protocol/control/documents.js'
import type { JobStore } from '../state/job-store.js'
import { conflictOf, type Claim } from './job-claims.js'

/** A change that somebody asked for. */
export interface JobRequest {
  readonly kind: string
  /** What it works on, for people. */
  readonly object: string
  readonly claims: readonly Claim[]
  /** The same kind and request again joins the running job. */
  readonly request: unknown
  readonly who: string
  /** False for what changes nothing that outlives this engine: dry runs, the cancelling of a job. */
  readonly isRecorded: boolean
  readonly work: (context: OperationContext) => Promise<unknown>
}

/** The changes that this engine makes and has made: recorded, one per object, with progress, cancelled on request. */
export interface Jobs {
  /** Starts a job, or joins the same one that runs. JOB_CONFLICT where another works on its object. */
  start(request: JobRequest): JobDocument
  /** JOB_NOT_FOUND. */
  show(id: string): JobDocument
  /** The job when it has ended, or after the time. */
  wait(id: string, milliseconds: number): Promise<JobDocument>
  /** Newest first; without those that leave no record. */
  list(): JobDocument[]
  /** Asks a job to stop; `changed` is false where it has ended. */
  cancel(id: string): { changed: boolean; job: JobDocument }
  /** Starts nothing more, cancels everything that runs and waits for it. */
  close(): Promise<void>
}

export interface JobsOptions {
  readonly store: Pick<JobStore, 'save' | 'list' | 'deleteEndedBefore'>
  /** Id of this host. */
  readonly host: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

/** Ended jobs in memory, and how long the state database keeps them. */
const KEPT_JOBS = 500
const KEPT_MILLISECONDS = 90 * 86_400_000
const PROGRESS_MILLISECONDS = 1000

interface Job {
  document: JobDocument
  readonly request: JobRequest
  /** Of kind and request: equal for requests that ask for the same. */
  readonly identity: string
  readonly abort: AbortController
  readonly ended: Promise<void>
  readonly number: number
}

/** The jobs of an engine that starts now. What ran under the engine before it has failed: nobody went on with it. */
export async function openJobs(options: JobsOptions): Promise<Jobs> {
  const { clock, host, logger, random, store } = options
  const jobs = new Map<string, Job>()
  let nextNumber = 1
  let isClosed = false
  const now = (): string => new Date(clock.now()).toISOString()

  /** Saves in order. The state database may be away: a job goes on without its record. */
  let saving: Promise<void> = Promise.resolve()
  const save = ({ document, request }: Pick<Job, 'document' | 'request'>): void => {
    if (!request.isRecorded) return
    const record = { ...document, host, who: request.who, request: request.request }
    saving = saving
      .then(() => store.save(record))
      .catch((error: unknown) => logger.warn({ err: error, job: document.id }, 'a job cannot be recorded'))
  }

  await store.deleteEndedBefore(host, new Date(clock.now() - KEPT_MILLISECONDS).toISOString())
  for (const record of (await store.list(host, { limit: KEPT_JOBS })).reverse()) {
    const { who, request, host: _host, ...document } = record
    const job: Job = {
      document: document.state === 'running' ? interrupted(document, now()) : document,
      request: { ...document, claims: [], request, who, isRecorded: true, work: () => Promise.resolve() },
      identity: '',
      abort: new AbortController(),
      ended: Promise.resolve(),
      number: nextNumber++,
    }
    jobs.set(document.id, job)
    if (document.state === 'running') save(job)
  }

  const running = (): Job[] => [...jobs.values()].filter((job) => job.document.state === 'running')

  const find = (id: string): Job => {
    const job = jobs.get(id)
    if (job !== undefined) return job
    throw new VmcacheError('JOB_NOT_FOUND', `no job ${JSON.stringify(id.slice(0, 80))}`, {
      hint: '"vmcache job list" shows them',
    })
  }

  /** Forgets the oldest ended jobs. */
  const trim = (): void => {
    for (const job of jobs.values()) {
      if (jobs.size <= KEPT_JOBS) return
      if (job.document.state !== 'running') jobs.delete(job.document.id)
    }
  }

  function run(request: JobRequest, identity: string): Job {
    const abort = new AbortController()
    let savedAt = clock.monotonic()
    let end: () => void = () => undefined
    const job: Job = {
      document: {
        id: random.id(),
        kind: request.kind,
        object: request.object,
        state: 'running',
        progress: null,
        createdAt: now(),
        endedAt: null,
        result: null,
        error: null,
      },
      request,
      identity,
      abort,
      ended: new Promise((resolve) => (end = resolve)),
      number: nextNumber++,
    }
    const finish = (outcome: Pick<JobDocument, 'state' | 'result' | 'error'>): void => {
      job.document = { ...job.document, ...outcome, endedAt: now() }
      save(job)
      trim()
      end()
    }
    const context: OperationContext = {
      who: request.who,
      signal: abort.signal,
      progress(done, total, unit, note) {
        if (job.document.state !== 'running') return
        job.document = { ...job.document, progress: { done, total, unit, note: note ?? null } }
        if (clock.monotonic() - savedAt < PROGRESS_MILLISECONDS) return
        savedAt = clock.monotonic()
        save(job)
      },
    }
    jobs.set(job.document.id, job)
    save(job)
    // An operation that throws before its first wait is no different from one that rejects.
    Promise.resolve()
      .then(() => request.work(context))
      .then(
        (result) => finish({ state: 'done', result, error: null }),
        (error: unknown) => {
          const state = abort.signal.aborted ? 'cancelled' : 'failed'
          finish({ state, result: null, error: failure(error, job.document, logger).toDocument() })
        },
      )
    return job
  }

  return {
    start(request) {
      if (isClosed)
        throw new VmcacheError('ENGINE_UNAVAILABLE', 'the engine is stopping', { hint: 'repeat the command' })
      const identity = `${request.kind} ${canonical(request.request)}`
      const active = running()
      const same = active.find((job) => job.identity === identity)
      if (same !== undefined) return same.document
      for (const other of active) {
        const claim = conflictOf(request.claims, other.request.claims)
        if (claim === null) continue
        throw new VmcacheError(
          'JOB_CONFLICT',
          `${claim} is busy: job ${other.document.id} does ${other.document.kind}`,
          {
            hint: `wait for it with "vmcache job show ${other.document.id}", or cancel it`,
            details: { job: other.document },
          },
        )
      }
      return run(request, identity).document
    },
    show: (id) => find(id).document,
    async wait(id, milliseconds) {
      const job = find(id)
      if (job.document.state === 'running' && milliseconds > 0) await earliest(job.ended, milliseconds, clock)
      return job.document
    },
    list: () =>
      [...jobs.values()]
        .filter(({ request }) => request.isRecorded)
        .sort((one, other) => other.number - one.number)
        .map(({ document }) => document),
    cancel(id) {
      const job = find(id)
      const changed = job.document.state === 'running' && !job.abort.signal.aborted
      if (changed) job.abort.abort()
      return { changed, job: job.document }
    },
    async close() {
      isClosed = true
      const active = running()
      for (const job of active) job.abort.abort()
      await Promise.all(active.map((job) => job.ended))
      await saving
    },
  }
}

function interrupted(document: JobDocument, at: string): JobDocument {
  const error = new VmcacheError(
    'FAILED',
    `${document.kind} of ${document.object} was interrupted by an engine restart`,
    {
      hint: 'repeat the command',
    },
  )
  return { ...document, state: 'failed', endedAt: at, error: error.toDocument() }
}

/** What a job's error says to whoever asked for it. What nobody expected is logged whole. */
function failure(error: unknown, { kind, object, id }: JobDocument, logger: Logger): VmcacheError {
  const failed = asVmcacheError(error)
  if (failed.code === 'INTERNAL') logger.error({ err: error, job: id }, `${kind} of ${object} failed unexpectedly`)
  return failed
}

/** JSON with sorted keys: the same text for the same request. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  )
}

/** Ends with `promise` or after the time, whatever comes first. */
async function earliest(promise: Promise<void>, milliseconds: number, clock: Clock): Promise<void> {
  let cancel: () => void = () => undefined
  await Promise.race([promise, new Promise<void>((resolve) => (cancel = clock.after(milliseconds, resolve)))])
  cancel()
}
