import { expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { waitForJob, type JobSource } from '../../../src/cli/wait-for-job.js'
import type { JobDocument } from '../../../src/protocol/control/documents.js'
import { failedJob, job } from '../../support/sample-documents.js'

const done: JobDocument = { ...job, state: 'done', endedAt: job.createdAt, result: { changed: true } }

/** A source that gives these documents, one after the other, and counts time in the milliseconds that it was asked to wait. */
function source(documents: readonly JobDocument[]) {
  const rest = [...documents]
  const state = { now: 0, waits: [] as number[], cancelled: [] as string[], progress: 0 }
  const jobs: JobSource = {
    async show(_id, waitMilliseconds) {
      state.waits.push(waitMilliseconds)
      state.now += waitMilliseconds
      return rest.length > 1 ? rest.shift()! : rest[0]!
    },
    async cancel(id) {
      state.cancelled.push(id)
    },
  }
  const options = (deadline: number | null, signal = new AbortController().signal) => ({
    deadline,
    monotonic: () => state.now,
    intervalMilliseconds: 250,
    onProgress: () => void state.progress++,
    signal,
  })
  return { state, jobs, options }
}

test('a job that has ended is not asked about', async () => {
  const { jobs, options, state } = source([done])
  expect(await waitForJob(done, jobs, options(null))).toBe(done)
  expect(state.waits).toEqual([])
})

test('progress is told until the job ends', async () => {
  const { jobs, options, state } = source([job, job, done])
  expect(await waitForJob(job, jobs, options(null))).toBe(done)
  expect(state.progress).toBe(3)
})

test('the error of a failed job is thrown', async () => {
  const { jobs, options } = source([failedJob])
  await expect(waitForJob(job, jobs, options(null))).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND', exit: 10 })
})

test('at the deadline the waiting ends with 12, never later, and the job is left alone', async () => {
  const { jobs, options, state } = source([job])
  await expect(waitForJob(job, jobs, options(600))).rejects.toMatchObject({ code: 'TIMEOUT', exit: 12 })
  expect(state.waits).toEqual([250, 250, 100])
  expect(state.cancelled).toEqual([])
})

test('Ctrl-C cancels the job', async () => {
  const controller = new AbortController()
  const { jobs, options, state } = source([job])
  const aborting: JobSource = {
    ...jobs,
    async show() {
      controller.abort()
      throw new VmcacheError('INTERRUPTED', 'interrupted')
    },
  }
  const waiting = waitForJob(job, aborting, options(null, controller.signal))
  await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED', exit: 130, details: { job: job.id } })
  expect(state.cancelled).toEqual([job.id])
})

test('Ctrl-C says so where the job could not be cancelled', async () => {
  const controller = new AbortController()
  const { jobs, options } = source([job])
  const failing: JobSource = {
    async show(...args) {
      controller.abort()
      return jobs.show(...args)
    },
    cancel: async () => Promise.reject(new Error('gone')),
  }
  await expect(waitForJob(job, failing, options(null, controller.signal))).rejects.toThrow(/could not be cancelled/)
})

test('a job that somebody else cancelled is interrupted', async () => {
  const { jobs, options } = source([{ ...job, state: 'cancelled' }])
  await expect(waitForJob(job, jobs, options(null))).rejects.toMatchObject({ code: 'INTERRUPTED' })
})
