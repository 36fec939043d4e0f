import { readFileSync, statSync } from 'node:fs'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { dirname, join } from 'node:path'
import { systemCode, VmcacheError, type ErrorDocument } from '../../base/errors.js'
import {
  methodOf,
  pathOf,
  type Operation,
  type PostResponse,
  type RequestOf,
  type ResponseOf,
  type Routes,
} from './routes.js'
import { readSupervisorStatus } from './supervisor-status.js'

export type ReadOperation = { [O in Operation]: Routes[O]['method'] extends 'GET' ? O : never }[Operation]
export type ChangeOperation = Exclude<Operation, ReadOperation>

export interface CallOptions {
  readonly signal?: AbortSignal
  /** How long the engine may take to answer, beyond what it was asked to wait; 30 s where not given. */
  readonly timeoutMilliseconds?: number
}

/**
 * The command line's side of the control API. Every failure is a VmcacheError: what the engine says, ENGINE_UNAVAILABLE
 * where none answers, DENIED where this user may not ask. An engine that is being restarted is waited for.
 */
export interface ControlClient {
  get<O extends ReadOperation>(operation: O, request: RequestOf<O>, options?: CallOptions): Promise<ResponseOf<O>>
  /** Ends with the result, or with the running job where that takes longer than `waitMilliseconds` (1000). */
  post<O extends ChangeOperation>(
    operation: O,
    request: RequestOf<O>,
    options?: CallOptions & { waitMilliseconds?: number },
  ): Promise<PostResponse<ResponseOf<O>>>
  /** Prometheus text. */
  metrics(options?: CallOptions): Promise<string>
  close(): void
}

const ANSWER_MILLISECONDS = 30_000
/** How long an engine that is being restarted is waited for, and how often it is tried. */
const RESTART_MILLISECONDS = 10_000
const RETRY_MILLISECONDS = 50
/** Nobody listens. */
const AWAY: readonly string[] = ['ENOENT', 'ECONNREFUSED']
/** Whoever listened has gone. */
const BROKEN: readonly string[] = ['ECONNRESET', 'EPIPE']
const MAXIMUM_ANSWER_BYTES = 256 * 1024 * 1024

export function controlSocketPath(runDir: string): string {
  return join(runDir, 'control.sock')
}

interface Answer {
  status: number
  body: string
}

/** A client of the engine whose control socket is at `socketPath`. Opens nothing before the first call. */
export function controlClient(socketPath: string): ControlClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })

  async function call(what: string, method: string, path: string, body: string | null, options: CallOptions, wait = 0) {
    const deadline = performance.now() + RESTART_MILLISECONDS
    for (;;) {
      try {
        const timeout = wait + (options.timeoutMilliseconds ?? ANSWER_MILLISECONDS)
        return await exchange(agent, { socketPath, method, path, body, timeout, signal: options.signal })
      } catch (error) {
        // What was never sent can be sent again, and so can a read, whatever became of it.
        const isStale = error instanceof StaleConnection && method === 'GET'
        const isAway =
          AWAY.includes(systemCode(error) ?? '') || (method === 'GET' && BROKEN.includes(systemCode(error) ?? ''))
        if (!isStale && !(isAway && isRestarting(socketPath) && performance.now() < deadline)) {
          throw connectionError(error, socketPath, what, options.signal)
        }
        await new Promise((resolve) => setTimeout(resolve, isStale ? 0 : RETRY_MILLISECONDS))
      }
    }
  }

  return {
    async get(operation, request, options = {}) {
      const wait = (request as { waitMilliseconds?: number }).waitMilliseconds ?? 0
      const answer = await call(operation, 'GET', `${pathOf(operation)}${queryOf(request)}`, null, options, wait)
      return documentOf(answer, operation)
    },
    async post(operation, request, options = {}) {
      const wait = options.waitMilliseconds ?? 1000
      const path = `${pathOf(operation)}?waitMilliseconds=${wait}`
      return documentOf(
        await call(operation, methodOf(operation), path, JSON.stringify(request), options, wait),
        operation,
      )
    },
    async metrics(options = {}) {
      const answer = await call('metrics', 'GET', '/metrics', null, options)
      return answer.status === 200 ? answer.body : documentOf<never>(answer, 'metrics')
    },
    close: () => agent.destroy(),
  }
}

/** A kept connection that the engine closed before it read the request. */
class StaleConnection extends Error {}

interface Exchange {
  socketPath: string
  method: string
  path: string
  body: string | null
  timeout: number
  signal: AbortSignal | undefined
}

function exchange(agent: Agent, { socketPath, method, path, body, timeout, signal }: Exchange): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers =
      body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    // No name to look at: a pattern for IP addresses takes longer to compile than a request to answer.
    const options = { agent, socketPath, servername: '', method, path, headers, signal }
    const request = httpRequest(options, (response) => {
      read(response).then((text) => resolve({ status: response.statusCode ?? 0, body: text }), reject)
    })
    const timer = setTimeout(() => request.destroy(new VmcacheError('TIMEOUT', 'no answer')), timeout)
    request.once('close', () => clearTimeout(timer))
    request.once('error', (error) => {
      const isStale = request.reusedSocket && BROKEN.includes(systemCode(error) ?? '')
      reject(isStale ? new StaleConnection(error.message) : error)
    })
    request.end(body ?? undefined)
  })
}

async function read(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > MAXIMUM_ANSWER_BYTES) throw new VmcacheError('INTERNAL', 'the answer is longer than any should be')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function documentOf<Document>(answer: Answer, operation: string): Document {
  let document: unknown
  try {
    document = JSON.parse(answer.body)
  } catch {
    throw new VmcacheError('INTERNAL', `${operation}: what answers on the control socket is no engine`)
  }
  if (answer.status < 400) return document as Document
  const { error } = document as { error?: ErrorDocument }
  if (error === undefined) throw new VmcacheError('INTERNAL', `${operation}: status ${answer.status} without an error`)
  throw VmcacheError.fromDocument(error)
}

/** Nulls are left out, lists repeat their key. */
function queryOf(request: object): string {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(request) as [string, unknown][]) {
    if (value === null || value === undefined) continue
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) query.append(key, String(one))
  }
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}

function isRestarting(socketPath: string): boolean {
  const status = readSupervisorStatus(dirname(socketPath))
  return status !== null && ['starting', 'running', 'waiting'].includes(status.engine.state)
}

/** Why nothing was answered, and what to do. */
function connectionError(
  error: unknown,
  socketPath: string,
  operation: string,
  signal: AbortSignal | undefined,
): VmcacheError {
  const options = { cause: error }
  if (signal?.aborted === true) return new VmcacheError('INTERRUPTED', `${operation} was interrupted`, options)
  if (error instanceof VmcacheError && error.code !== 'TIMEOUT') return error
  const code = systemCode(error)
  if (code === 'EACCES' || code === 'EPERM') {
    const hint = `join the group "${groupOf(socketPath)}" (usermod -aG ${groupOf(socketPath)} USER, then log in again), or use sudo`
    return new VmcacheError('DENIED', `you may not use the control socket ${socketPath}`, { ...options, hint })
  }
  const status = readSupervisorStatus(dirname(socketPath))
  if (code !== undefined && AWAY.includes(code)) {
    if (status === null) {
      const hint = 'start it with "vmcache engine start"'
      return new VmcacheError('ENGINE_UNAVAILABLE', `no engine runs: nothing answers on ${socketPath}`, {
        ...options,
        hint,
      })
    }
    const why = status.engine.lastEnd === null ? '' : `: ${status.engine.lastEnd.reason}`
    return new VmcacheError('ENGINE_UNAVAILABLE', `the engine is ${status.engine.state}${why}`, {
      ...options,
      hint: status.engine.state === 'held' ? 'start it with "vmcache engine start"' : 'its log says more',
    })
  }
  if (error instanceof VmcacheError) {
    return new VmcacheError('ENGINE_UNAVAILABLE', `the engine did not answer ${operation} in time`, options)
  }
  return new VmcacheError('ENGINE_UNAVAILABLE', `the engine ended before it answered ${operation}`, {
    ...options,
    hint: 'it is restarted by itself; "vmcache job list" says what became of the command',
  })
}

/** Name of the group of the control socket: whom to join. */
function groupOf(socketPath: string): string {
  try {
    const { gid } = statSync(socketPath)
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((entry) => entry.split(':')[2] === String(gid))
    return gid === 0 ? 'vmcache' : (line?.split(':')[0] ?? String(gid))
  } catch {
    return 'vmcache'
  }
}
