import { VmcacheError } from '../base/errors.js'
import type { OperationContext, Operations } from '../operations/operation.js'
import type { EngineDocument } from '../protocol/control/documents.js'
import {
  pathOf,
  type Operation,
  type PostResponse,
  type RequestOf,
  type ResponseOf,
} from '../protocol/control/routes.js'
import type { ControlService } from './control-server.js'
import { claimsOf, objectText, type ClaimNames } from './job-claims.js'
import type { Jobs } from './jobs.js'

/** What the daemon does itself, beside the operations. */
export interface EngineControl {
  /** Refuses, or makes the engine end after the answer. */
  stop(request: RequestOf<'engine.stop'>, context: OperationContext): Promise<ResponseOf<'engine.stop'>>
  restart(): Promise<ResponseOf<'engine.restart'>>
  configuration(): ResponseOf<'config.show'>
  metrics(): Promise<string>
}

/** The engine once it can be asked. */
export interface RunningEngine extends ClaimNames {
  readonly operations: Operations
  readonly jobs: Jobs
  readonly control: EngineControl
}

export interface ControlServiceOptions {
  /** What is known of an engine that starts. */
  readonly startingDocument: () => EngineDocument
  /** Ends when the engine runs; rejects where it cannot. */
  readonly running: Promise<RunningEngine>
  /** How long a request waits for an engine that starts. */
  readonly startWaitMilliseconds: number
}

/** Operations on whose result nobody can wait later, or that only touch jobs: they leave no record. */
const UNRECORDED: ReadonlySet<Operation> = new Set<Operation>(['job.cancel', 'engine.stop', 'engine.restart'])

/**
 * The control API over operations and jobs. While the engine starts it says so; every other request waits until it runs.
 */
export function createControlService(options: ControlServiceOptions): ControlService {
  let engine: RunningEngine | null = null
  options.running.then(
    (running) => (engine = running),
    () => undefined,
  )

  const ready = async (): Promise<RunningEngine> => {
    if (engine !== null) return engine
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      const error = new VmcacheError('ENGINE_UNAVAILABLE', 'the engine is still starting', {
        hint: '"vmcache engine status" says when it runs; then repeat the command',
      })
      timer = setTimeout(() => reject(error), options.startWaitMilliseconds)
    })
    try {
      return await Promise.race([options.running, late])
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    async read(operation, request, who) {
      if (operation === 'engine.status' && engine === null) return options.startingDocument()
      const { control, jobs, operations } = await ready()
      switch (operation) {
        case 'config.show':
          return control.configuration()
        case 'job.list':
          return { jobs: jobs.list() }
        case 'job.show': {
          const { id, waitMilliseconds } = request as RequestOf<'job.show'>
          return jobs.wait(id, waitMilliseconds)
        }
        default:
          return perform(operations, operation, request, readContext(who))
      }
    },

    async change(operation, request, who, waitMilliseconds) {
      const running = await ready()
      const { jobs } = running
      const isDryRun = (request as { dryRun?: boolean }).dryRun === true
      const claims = claimsOf(operation, request as never, running)
      const { id } = jobs.start({
        kind: operation,
        object: objectText(claims),
        // What touches nothing is in nobody's way.
        claims: isDryRun ? [] : claims,
        request,
        who,
        isRecorded: !isDryRun && !UNRECORDED.has(operation),
        work: (context) => work(running, operation, request, context),
      })
      return outcome(jobs, id, waitMilliseconds)
    },

    metrics: async () => (await ready()).control.metrics(),
  }
}

async function work(engine: RunningEngine, operation: Operation, request: object, context: OperationContext) {
  switch (operation) {
    case 'job.cancel':
      return engine.jobs.cancel((request as RequestOf<'job.cancel'>).id)
    case 'engine.stop':
      return engine.control.stop(request as RequestOf<'engine.stop'>, context)
    case 'engine.restart':
      return engine.control.restart()
    default:
      return perform(engine.operations, operation, request, context)
  }
}

async function outcome(jobs: Jobs, id: string, waitMilliseconds: number): Promise<PostResponse<unknown>> {
  const job = await jobs.wait(id, waitMilliseconds)
  if (job.error !== null) throw VmcacheError.fromDocument(job.error)
  return { job, result: job.state === 'running' ? null : job.result }
}

/** The table of operations by a name that is known only now; requests were checked against the operation's schema. */
async function perform(operations: Operations, operation: Operation, request: object, context: OperationContext) {
  const table = operations as unknown as Record<
    string,
    ((request: object, context: OperationContext) => Promise<unknown>) | undefined
  >
  const method = table[operation]
  if (method === undefined) throw new VmcacheError('NOT_FOUND', `there is nothing at ${pathOf(operation)}`)
  return method(request, context)
}

function readContext(who: string): OperationContext {
  return { who, progress: () => undefined, signal: new AbortController().signal }
}
