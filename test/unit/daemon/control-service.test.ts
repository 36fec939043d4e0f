import { beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { silentLogger } from '../../../src/base/logger.js'
import { SeededRandom } from '../../../src/base/random.js'
import type { ControlService } from '../../../src/daemon/control-server.js'
import { createControlService, type RunningEngine } from '../../../src/daemon/control-service.js'
import { openJobs, type Jobs } from '../../../src/daemon/jobs.js'
import type { OperationContext, Operations } from '../../../src/operations/operation.js'
import type { EngineDocument } from '../../../src/protocol/control/documents.js'
import type { JobRecord } from '../../../src/state/job-store.js'
import { manualClock, turn, type ManualClock } from '../../support/manual-clock.js'

const WHO = 'root (uid 0)'
const flush = (names: string[], dryRun = false) => ({ names, all: false, exclude: [], dryRun })

let clock: ManualClock
let jobs: Jobs
let records: JobRecord[]
let calls: { operation: string; request: unknown; context: OperationContext }[]
let work: () => Promise<unknown>
let run: (engine: RunningEngine) => void
let engine: RunningEngine
let service: ControlService

beforeEach(async () => {
  clock = manualClock()
  records = []
  calls = []
  work = async () => ({ changed: true })
  jobs = await openJobs({
    store: {
      save: async (job) => void records.push(job),
      list: async () => [],
      deleteEndedBefore: async () => undefined,
    },
    host: 'host',
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
  })
  const operations = new Proxy({} as Operations, {
    get: (_target, operation: string) => (request: unknown, context: OperationContext) => {
      calls.push({ operation, request, context })
      return work()
    },
  })
  engine = {
    operations,
    jobs,
    control: {
      stop: async () => ({ changed: true }),
      restart: async () => ({ changed: true }),
      configuration: () => ({ values: [] }),
      metrics: async () => 'up 1\n',
    },
    vmsOf: ({ names }) => names,
    disksOf: ({ names }) => names,
    diskNameOf: (origin) => origin,
  }
  service = createControlService({
    startingDocument: () => ({ state: 'starting' }) as EngineDocument,
    running: new Promise((resolve) => (run = resolve)),
    startWaitMilliseconds: 30,
  })
})

describe('while the engine starts', () => {
  test('its status says so, and everything else waits for it', async () => {
    expect(await service.read('engine.status', {}, WHO)).toEqual({ state: 'starting' })
    const asked = service.read('cache.list', {}, WHO)
    run(engine)
    await asked
    expect(calls).toMatchObject([{ operation: 'cache.list', context: { who: WHO } }])
    expect(await service.metrics()).toBe('up 1\n')
  })

  test('but not for ever', async () => {
    await expect(service.read('cache.list', {}, WHO)).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' })
    await expect(service.change('disk.flush', flush(['a']), WHO, 0)).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
    })
  })
})

describe('a change', () => {
  beforeEach(() => run(engine))

  test('is a job that carries who asked, and its result', async () => {
    const { job, result } = await service.change('disk.flush', flush(['a', 'b']), WHO, 1000)
    expect(job).toMatchObject({ kind: 'disk.flush', object: 'disk a, disk b', state: 'done' })
    expect(result).toEqual({ changed: true })
    expect(calls[0]!.context.who).toBe(WHO)
    await turn()
    expect(records.map(({ state, who }) => [state, who])).toEqual([
      ['running', WHO],
      ['done', WHO],
    ])
  })

  test('that takes longer than somebody waits goes on as a job', async () => {
    let end: (result: unknown) => void = () => undefined
    work = () => new Promise((resolve) => (end = resolve))
    const answer = await service.change('disk.flush', flush(['a']), WHO, 0)
    expect(answer).toMatchObject({ job: { state: 'running' }, result: null })
    await turn()
    const shown = service.read('job.show', { id: answer.job.id, waitMilliseconds: 1000 }, WHO)
    end({ changed: false })
    expect(await shown).toMatchObject({ state: 'done', result: { changed: false } })
  })

  test('that fails in this time is its error', async () => {
    work = () => Promise.reject(new VmcacheError('ORIGIN_FAILED', 'disk a: the origin is away'))
    await expect(service.change('disk.flush', flush(['a']), WHO, 1000)).rejects.toMatchObject({ code: 'ORIGIN_FAILED' })
    expect(await service.read('job.list', {}, WHO)).toMatchObject({ jobs: [{ state: 'failed' }] })
  })

  test('of an object that another one works on is a conflict; a dry run is in nobody’s way', async () => {
    work = () => new Promise(() => undefined)
    await service.change('disk.flush', flush(['a']), WHO, 0)
    const invalidate = (dryRun: boolean) => service.change('disk.invalidate', flush(['a'], dryRun), WHO, 0)
    await expect(invalidate(false)).rejects.toMatchObject({ code: 'JOB_CONFLICT', exit: 4 })
    await expect(invalidate(true)).resolves.toMatchObject({ result: null })
  })

  test('can be cancelled', async () => {
    work = () =>
      new Promise((_resolve, reject) => {
        calls
          .at(-1)!
          .context.signal.addEventListener('abort', () => reject(new VmcacheError('INTERRUPTED', 'cancelled')))
      })
    const { job } = await service.change('disk.flush', flush(['a']), WHO, 0)
    await turn()
    const { result } = await service.change('job.cancel', { id: job.id }, WHO, 1000)
    expect(result).toMatchObject({ changed: true, job: { id: job.id } })
    await turn()
    expect(await service.read('job.show', { id: job.id, waitMilliseconds: 0 }, WHO)).toMatchObject({
      state: 'cancelled',
    })
    await expect(service.change('job.cancel', { id: 'x' }, WHO, 1000)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
  })

  test('of the engine itself leaves no record', async () => {
    expect((await service.change('engine.restart', {}, WHO, 1000)).result).toEqual({ changed: true })
    expect((await service.change('engine.stop', { detach: false, force: false }, WHO, 1000)).result).toEqual({
      changed: true,
    })
    expect(records).toEqual([])
    expect(calls).toEqual([])
  })
})
