import { chownSync, chmodSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { messageOf, VmcacheError } from '../base/errors.js'
import type { Logger } from '../base/logger.js'
import { listenUnix, peerCredentials } from '../base/system-calls.js'
import { methodOf, type Operation, type PostResponse } from '../protocol/control/routes.js'
import { isOperation, parsePost, parseQuery } from '../protocol/control/schemas.js'
import { userName } from './groups.js'
import { httpStatus } from './http-status.js'
import type { SocketAccess } from './socket-owner.js'

/** What stands behind the control socket. Requests are checked for their form before they come here. */
export interface ControlService {
  read(operation: Operation, request: object, who: string): Promise<unknown>
  /** Ends when the job has ended or after `waitMilliseconds`. A job that failed in this time is an error. */
  change(operation: Operation, request: object, who: string, waitMilliseconds: number): Promise<PostResponse<unknown>>
  /** Prometheus text. */
  metrics(): Promise<string>
}

export interface ControlServer {
  /** Stops listening, lets requests that are being answered end, for at most the time. */
  close(milliseconds: number): Promise<void>
}

const MAXIMUM_BODY_BYTES = 1024 * 1024
const MAXIMUM_CONNECTIONS = 512
/** A client has this long to send a request... */
const REQUEST_MILLISECONDS = 30_000
/** ...and a connection on which nothing moves is closed; longer than any wait for a job. */
const IDLE_MILLISECONDS = 90_000
const BACKLOG = 128

/** Serves the control API on the unix socket at `path`: HTTP with JSON documents. */
export async function openControlServer(
  path: string,
  access: SocketAccess,
  service: ControlService,
  logger: Logger,
): Promise<ControlServer> {
  const users = new WeakMap<Socket, string>()
  const server = createServer({
    requestTimeout: REQUEST_MILLISECONDS,
    headersTimeout: REQUEST_MILLISECONDS,
    keepAliveTimeout: REQUEST_MILLISECONDS,
    maxHeaderSize: 16 * 1024,
  })
  server.maxConnections = MAXIMUM_CONNECTIONS
  server.setTimeout(IDLE_MILLISECONDS)
  server.on('connection', (socket: Socket) => users.set(socket, peerOf(socket)))
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
    else socket.destroy()
  })
  let inFlight = 0
  let onIdle: () => void = () => undefined
  server.on('request', (request, response) => {
    inFlight++
    response.once('close', () => {
      if (--inFlight === 0) onIdle()
    })
    const who = users.get(request.socket) ?? 'unknown'
    // A client that goes away in the middle is its own business.
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    answer(request, response, service, who).catch((error: unknown) => {
      refuse(response, error, logger, `${request.method} ${request.url?.slice(0, 200)}`)
    })
  })

  rmSync(path, { force: true })
  const descriptor = listenUnix(path, { mode: 0o600, backlog: BACKLOG })
  if (access.gid !== null) {
    chownSync(path, -1, access.gid)
    chmodSync(path, access.mode)
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ fd: descriptor }, resolve)
  })
  return {
    async close(milliseconds) {
      rmSync(path, { force: true })
      const closed = new Promise((resolve) => server.close(resolve))
      const idle = new Promise<void>((resolve) => (onIdle = resolve))
      let timer: NodeJS.Timeout | undefined
      const late = new Promise((resolve) => (timer = setTimeout(resolve, milliseconds)))
      // Connections that ask for nothing are not waited for.
      if (inFlight > 0) await Promise.race([idle, late])
      clearTimeout(timer)
      server.closeAllConnections()
      await closed
    },
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, service: ControlService, who: string) {
  const { path, query } = parseUrl(request.url ?? '/')
  if (path === '/metrics') {
    requireMethod(request, response, 'GET')
    return send(response, 200, 'text/plain; version=0.0.4; charset=utf-8', await service.metrics())
  }
  const operation = operationOf(path)
  if (operation === null)
    throw new VmcacheError('NOT_FOUND', `there is nothing at ${JSON.stringify(path.slice(0, 200))}`)
  const method = methodOf(operation)
  requireMethod(request, response, method)
  if (method === 'GET') {
    sendDocument(response, 200, await service.read(operation, parseQuery(operation, query), who))
    return
  }
  const { request: document, waitMilliseconds } = parsePost(operation, await readBody(request), query)
  sendDocument(response, 200, await service.change(operation, document, who, waitMilliseconds))
}

function parseUrl(text: string): { path: string; query: URLSearchParams } {
  const question = text.indexOf('?')
  return {
    path: question === -1 ? text : text.slice(0, question),
    query: new URLSearchParams(question === -1 ? '' : text.slice(question + 1)),
  }
}

/** `/v1/cache/create` is `cache.create`. */
function operationOf(path: string): Operation | null {
  const [empty, version, topic, verb, ...rest] = path.split('/')
  const name = `${topic}.${verb}`
  return empty === '' && version === 'v1' && rest.length === 0 && isOperation(name) ? name : null
}

class WrongMethod extends VmcacheError {}

function requireMethod(request: IncomingMessage, response: ServerResponse, method: 'GET' | 'POST'): void {
  if (request.method === method) return
  response.setHeader('allow', method)
  throw new WrongMethod('BAD_REQUEST', `${request.method} is not the method of this path: expected ${method}`)
}

class TooLarge extends VmcacheError {}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > MAXIMUM_BODY_BYTES) {
      throw new TooLarge('BAD_REQUEST', `the body is longer than ${MAXIMUM_BODY_BYTES} bytes`)
    }
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function refuse(response: ServerResponse, error: unknown, logger: Logger, what: string): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  if (!(error instanceof VmcacheError)) logger.error({ err: error }, `${what} failed unexpectedly`)
  const known = error instanceof VmcacheError ? error : new VmcacheError('INTERNAL', messageOf(error))
  const status = error instanceof WrongMethod ? 405 : error instanceof TooLarge ? 413 : httpStatus(known.code)
  // What is left of a request that was not read to its end cannot be told from the next one.
  if (!response.req.complete) response.setHeader('connection', 'close')
  sendDocument(response, status, { error: known.toDocument() })
}

function sendDocument(response: ServerResponse, status: number, document: unknown): void {
  send(response, status, 'application/json', `${JSON.stringify(document)}\n`)
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Who is at the other end: `root (uid 0)`. */
function peerOf(socket: Socket): string {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  try {
    const { uid } = peerCredentials(fd)
    const name = userName(uid)
    return name === null ? `uid ${uid}` : `${name} (uid ${uid})`
  } catch {
    return 'unknown'
  }
}
