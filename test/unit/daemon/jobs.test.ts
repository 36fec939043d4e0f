import { beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { silentLogger } from '../../../src/base/logger.js'
import { SeededRandom } from '../../../src/base/random.js'
import { openJobs, type JobRequest, type Jobs } from '../../../src/daemon/jobs.js'
import type { OperationContext } from '../../../src/operations/operation.js'
import type { JobRecord } from '../../../src/state/job-store.js'
import { manualClock, turn, type ManualClock } from '../../support/manual-clock.js'

const HOST = 'ab'.repeat(16)

let clock: ManualClock
let records: Map<string, JobRecord>
let saves: JobRecord[]
let isAway: boolean
let jobs: Jobs
let random: SeededRandom

const open = () =>
  openJobs({
    store: {
      async save(job) {
        if (isAway) throw new VmcacheError('FAILED', 'the state database is away')
        records.set(job.id, job)
        saves.push(job)
      },
      list: async (_host, { limit } = {}) => [...records.values()].reverse().slice(0, limit),
      deleteEndedBefore: async (_host, at) => {
        for (const job of records.values()) if (job.endedAt !== null && job.endedAt < at) records.delete(job.id)
      },
    },
    host: HOST,
    clock,
    random,
    logger: silentLogger,
  })

/** A job that a test ends. */
function controlled(change: Partial<JobRequest> = {}) {
  let context: OperationContext | undefined
  let resolve: (result: unknown) => void = () => undefined
  let reject: (error: unknown) => void = () => undefined
  const request: JobRequest = {
    kind: 'disk.flush',
    object: 'disk web',
    claims: [{ object: 'disk web', isShared: false }],
    request: { names: ['web'], all: false },
    who: 'root (uid 0)',
    isRecorded: true,
    work: (given) => {
      context = given
      return new Promise((fulfil, refuse) => {
        resolve = fulfil
        reject = refuse
      })
    },
    ...change,
  }
  return {
    request,
    context: () => context!,
    resolve: async (result: unknown) => {
      resolve(result)
      await turn()
    },
    reject: async (error: unknown) => {
      reject(error)
      await turn()
    },
  }
}

beforeEach(async () => {
  clock = manualClock()
  records = new Map()
  saves = []
  isAway = false
  random = new SeededRandom(1)
  jobs = await open()
})

test('a job is recorded when it starts and when it ends', async () => {
  const work = controlled()
  const { id } = jobs.start(work.request)
  await turn()
  expect(records.get(id)).toMatchObject({ state: 'running', host: HOST, who: 'root (uid 0)', endedAt: null })
  await clock.advance(1500)
  await work.resolve({ changed: true })
  expect(jobs.show(id)).toEqual({
    id,
    kind: 'disk.flush',
    object: 'disk web',
    state: 'done',
    progress: null,
    createdAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:00:01.500Z',
    result: { changed: true },
    error: null,
  })
  expect(records.get(id)).toMatchObject({ state: 'done', result: { changed: true } })
})

test('a job goes on while the state database is away', async () => {
  isAway = true
  const work = controlled()
  const { id } = jobs.start(work.request)
  await turn()
  await work.resolve({ changed: true })
  expect(jobs.show(id).state).toBe('done')
  expect(records.size).toBe(0)
})

describe('one job per object', () => {
  test('the same request joins the running job, whatever the order of its keys', async () => {
    const work = controlled()
    const { id } = jobs.start(work.request)
    expect(jobs.start({ ...work.request, request: { all: false, names: ['web'] } }).id).toBe(id)
    await turn()
    await work.resolve(null)
    expect(jobs.start(work.request).id).not.toBe(id)
  })

  test('another request gets a conflict that names the job', () => {
    const { id } = jobs.start(controlled().request)
    const other = controlled({ kind: 'disk.set', request: { name: 'web' } })
    expect(() => jobs.start(other.request)).toThrow(
      expect.objectContaining({ code: 'JOB_CONFLICT', message: `disk web is busy: job ${id} does disk.flush` }),
    )
  })

  test('what both only lean on is no conflict', () => {
    const claim = (object: string, isShared: boolean) => ({ object, isShared })
    const attach = (name: string) =>
      controlled({
        kind: 'cache.attach',
        request: { name },
        claims: [claim(`disk ${name}`, false), claim('cache fast', true)],
      }).request
    jobs.start(attach('a'))
    jobs.start(attach('b'))
    const remove = controlled({ kind: 'cache.delete', request: {}, claims: [claim('cache fast', false)] })
    expect(() => jobs.start(remove.request)).toThrow(/cache fast is busy/)
  })
})

describe('cancelling', () => {
  test('tells the operation, which says how it ended', async () => {
    const work = controlled()
    const { id } = jobs.start(work.request)
    await turn()
    expect(jobs.cancel(id)).toMatchObject({ changed: true, job: { state: 'running' } })
    expect(work.context().signal.aborted).toBe(true)
    expect(jobs.cancel(id).changed).toBe(false)
    await work.reject(new DOMException('aborted', 'AbortError'))
    expect(jobs.show(id)).toMatchObject({ state: 'cancelled', error: { code: 'INTERRUPTED' } })
    expect(jobs.cancel(id).changed).toBe(false)
  })

  test('too late leaves a job that is done', async () => {
    const work = controlled()
    const { id } = jobs.start(work.request)
    await turn()
    jobs.cancel(id)
    await work.resolve({ changed: true })
    expect(jobs.show(id).state).toBe('done')
  })

  test('close cancels all and waits for them', async () => {
    const work = controlled()
    jobs.start(work.request)
    await turn()
    let isClosed = false
    const closed = jobs.close().then(() => (isClosed = true))
    await turn()
    expect(work.context().signal.aborted).toBe(true)
    expect(isClosed).toBe(false)
    await work.reject(new VmcacheError('INTERRUPTED', 'cancelled'))
    await closed
    expect(() => jobs.start(controlled().request)).toThrow(expect.objectContaining({ code: 'ENGINE_UNAVAILABLE' }))
    expect([...records.values()][0]).toMatchObject({ state: 'cancelled' })
  })
})

describe('failures', () => {
  test('an expected one is told as it is', async () => {
    const work = controlled()
    const { id } = jobs.start(work.request)
    await turn()
    await work.reject(new VmcacheError('NO_SPACE', 'cache fast is full', { hint: 'add a device' }))
    expect(jobs.show(id)).toMatchObject({
      state: 'failed',
      error: { code: 'NO_SPACE', exit: 5, message: 'cache fast is full', hint: 'add a device' },
    })
  })

  test('an operation that throws at once is a failed job', async () => {
    const { id } = jobs.start(
      controlled({
        work: () => {
          throw new TypeError('x is not a function')
        },
      }).request,
    )
    await turn()
    expect(jobs.show(id)).toMatchObject({ state: 'failed', error: { code: 'INTERNAL' } })
  })

  test('an unknown job is not found', () => {
    expect(() => jobs.show('nonsense')).toThrow(expect.objectContaining({ code: 'JOB_NOT_FOUND' }))
    expect(() => jobs.cancel('nonsense')).toThrow(expect.objectContaining({ code: 'JOB_NOT_FOUND' }))
  })
})

test('progress is seen at once and recorded once a second', async () => {
  const work = controlled()
  const { id } = jobs.start(work.request)
  await turn()
  const before = saves.length
  for (let done = 0; done < 100; done++) work.context().progress(done, 100, 'pages', 'flushing')
  expect(jobs.show(id).progress).toEqual({ done: 99, total: 100, unit: 'pages', note: 'flushing' })
  await clock.advance(1000)
  work.context().progress(100, 100, 'pages')
  await turn()
  expect(saves.length - before).toBe(1)
})

describe('waiting', () => {
  test('ends with the job', async () => {
    const work = controlled()
    const { id } = jobs.start(work.request)
    const waited = jobs.wait(id, 60_000)
    await turn()
    await work.resolve(1)
    expect((await waited).state).toBe('done')
    expect(clock.nextDelay).toBeNull()
  })

  test('ends after the time', async () => {
    const { id } = jobs.start(controlled().request)
    const waited = jobs.wait(id, 1000)
    await clock.advance(1000)
    expect((await waited).state).toBe('running')
  })
})

test('after a crash what ran has failed, and says what to do', async () => {
  const { id } = jobs.start(controlled().request)
  await turn()
  const next = await open()
  await turn()
  expect(next.show(id)).toMatchObject({
    state: 'failed',
    error: { message: 'disk.flush of disk web was interrupted by an engine restart', hint: 'repeat the command' },
  })
  expect(records.get(id)).toMatchObject({ state: 'failed' })
  // Its object is free again.
  expect(next.start(controlled().request).id).not.toBe(id)
})

test('ended jobs are kept, but not for ever', async () => {
  const ids: string[] = []
  for (let index = 0; index < 600; index++) {
    ids.push(jobs.start(controlled({ request: index, claims: [], work: async () => index }).request).id)
    await turn()
  }
  expect(jobs.list()).toHaveLength(500)
  expect(jobs.list()[0]!.id).toBe(ids.at(-1))
  expect(() => jobs.show(ids[0]!)).toThrow(/no job/)
  await clock.advance(91 * 86_400_000)
  await open()
  expect(records.size).toBe(0)
})

test('what leaves no record is not listed', async () => {
  const { id } = jobs.start(controlled({ isRecorded: false, work: async () => 1 }).request)
  await turn()
  expect(jobs.show(id).state).toBe('done')
  expect(jobs.list()).toEqual([])
  expect(records.size).toBe(0)
})
