import { VmcacheError } from '../base/errors.js'
import type { JobDocument } from '../protocol/control/documents.js'

/** What waiting for a job needs of the engine. */
export interface JobSource {
  /** The job, at the latest after `waitMilliseconds`, earlier when it has ended. */
  show(id: string, waitMilliseconds: number, signal: AbortSignal): Promise<JobDocument>
  cancel(id: string): Promise<unknown>
}

export interface WaitOptions {
  /** Milliseconds that only ever rise, after which the waiting ends; null: never. */
  readonly deadline: number | null
  readonly monotonic: () => number
  /** How often {@link WaitOptions.onProgress} wants to hear. */
  readonly intervalMilliseconds: number
  readonly onProgress: (job: JobDocument) => void
  /** Aborted by Ctrl-C: the job is cancelled. */
  readonly signal: AbortSignal
}

/**
 * Waits until a job has ended, and returns it when it is done. Throws the job's own error when it failed, TIMEOUT at the
 * deadline (the job goes on), INTERRUPTED when it was cancelled, by us or by somebody else.
 */
export async function waitForJob(job: JobDocument, source: JobSource, options: WaitOptions): Promise<JobDocument> {
  let current = job
  while (current.state === 'running') {
    options.onProgress(current)
    const left = options.deadline === null ? Infinity : options.deadline - options.monotonic()
    if (left <= 0) throw timeout(current)
    try {
      current = await source.show(current.id, Math.ceil(Math.min(left, options.intervalMilliseconds)), options.signal)
    } catch (error) {
      if (!options.signal.aborted) throw error
      throw await interrupted(current, source)
    }
    if (options.signal.aborted && current.state === 'running') throw await interrupted(current, source)
  }
  return ended(current)
}

/** The job itself when it is done; throws the error of one that failed or was cancelled. */
export function ended(job: JobDocument): JobDocument {
  if (job.state === 'cancelled') {
    throw new VmcacheError('INTERRUPTED', `job ${job.id} (${job.kind} of ${job.object}) was cancelled`, {
      details: { job: job.id },
    })
  }
  if (job.state === 'failed' && job.error !== null) throw VmcacheError.fromDocument(job.error)
  return job
}

function timeout(job: JobDocument): VmcacheError {
  return new VmcacheError('TIMEOUT', `job ${job.id} (${job.kind} of ${job.object}) has not ended in time; it goes on`, {
    hint: `vmcache job show ${job.id}, or vmcache job cancel ${job.id}`,
    details: { job: job.id },
  })
}

async function interrupted(job: JobDocument, source: JobSource): Promise<VmcacheError> {
  const details = { job: job.id }
  try {
    await source.cancel(job.id)
    return new VmcacheError('INTERRUPTED', `interrupted: job ${job.id} (${job.kind} of ${job.object}) is cancelled`, {
      details,
    })
  } catch (error) {
    return new VmcacheError('INTERRUPTED', `interrupted, but job ${job.id} could not be cancelled and may go on`, {
      hint: `vmcache job show ${job.id}`,
      details,
      cause: error,
    })
  }
}
