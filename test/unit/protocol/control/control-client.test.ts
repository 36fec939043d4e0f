import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createPlainServer, type Server as PlainServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import {
  controlClient,
  controlSocketPath,
  type ControlClient,
} from '../../../../src/protocol/control/control-client.js'
import { supervisorStatusPath, type SupervisorStatus } from '../../../../src/protocol/control/supervisor-status.js'

let directory: string
let socket: string
let client: ControlClient
let servers: (Server | PlainServer)[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-client-'))
  socket = controlSocketPath(directory)
  client = controlClient(socket)
  servers = []
})

afterEach(async () => {
  client.close()
  for (const server of servers) {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
  }
  await rm(directory, { recursive: true })
})

async function serve(listener: RequestListener): Promise<Server> {
  const server = createServer(listener)
  servers.push(server)
  server.listen(socket)
  await once(server, 'listening')
  return server
}

const failure = (promise: Promise<unknown>): Promise<VmcacheError> =>
  promise.then(
    () => expect.fail('it succeeded'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(VmcacheError)
      return error as VmcacheError
    },
  )

async function supervisorSays(engine: Partial<SupervisorStatus['engine']>, pid = process.pid): Promise<void> {
  const status: SupervisorStatus = {
    pid,
    startedAt: '',
    engine: { state: 'running', pid: null, failures: 0, lastEnd: null, ...engine },
  }
  await writeFile(supervisorStatusPath(directory), JSON.stringify(status))
}

test('a read is a query, a change is a body', async () => {
  const seen: unknown[] = []
  await serve((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => (body += part))
    request.once('end', () => {
      seen.push([request.method, request.url, body])
      response.end('{"ok":true}')
    })
  })
  expect(await client.get('stats.show', { names: ['a b', 'c'], window: '5m' })).toEqual({ ok: true })
  await client.get('event.list', { sinceAt: null, vm: null, disk: 'x/y' })
  await client.post('engine.stop', { detach: true, force: false }, { waitMilliseconds: 5 })
  expect(seen).toEqual([
    ['GET', '/v1/stats/show?names=a+b&names=c&window=5m', ''],
    ['GET', '/v1/event/list?disk=x%2Fy', ''],
    ['POST', '/v1/engine/stop?waitMilliseconds=5', '{"detach":true,"force":false}'],
  ])
})

test('an error document is that error', async () => {
  await serve((_request, response) => {
    const error = new VmcacheError('NO_SPACE', 'full', { hint: 'add', details: { free: 1 } }).toDocument()
    response.writeHead(507).end(JSON.stringify({ error }))
  })
  expect(await failure(client.get('cache.list', {}))).toMatchObject({
    code: 'NO_SPACE',
    message: 'full',
    hint: 'add',
    details: { free: 1 },
  })
})

describe('no engine', () => {
  test('nothing there', async () => {
    const error = await failure(client.get('cache.list', {}))
    expect(error).toMatchObject({ code: 'ENGINE_UNAVAILABLE', exit: 6 })
    expect(error.message).toBe(`no engine runs: nothing answers on ${socket}`)
    expect(error.hint).toContain('vmcache engine start')
  })

  test('the status of a supervisor that is dead says nothing', async () => {
    await supervisorSays({ state: 'waiting' }, 2 ** 22 + 1)
    expect((await failure(client.get('cache.list', {}))).message).toContain('no engine runs')
  })

  test('one that is held says so at once', async () => {
    await supervisorSays({ state: 'held' })
    expect((await failure(client.get('cache.list', {}))).message).toBe('the engine is held')
  })

  test('one that is being restarted is waited for', async () => {
    await supervisorSays({ state: 'waiting', lastEnd: { at: '', reason: 'it was ended by SIGKILL' } })
    const asked = client.get('cache.list', {})
    await new Promise((resolve) => setTimeout(resolve, 120))
    await serve((_request, response) => response.end('{"caches":[]}'))
    expect(await asked).toEqual({ caches: [] })
  })
})

describe('a broken engine', () => {
  test('ends in the middle of a change', async () => {
    await serve((request) => request.socket.destroy())
    const error = await failure(client.post('engine.restart', {}))
    expect(error.code).toBe('ENGINE_UNAVAILABLE')
    expect(error.message).toBe('the engine ended before it answered engine.restart')
  })

  test('does not answer', async () => {
    await serve(() => undefined)
    const error = await failure(client.get('cache.list', {}, { timeoutMilliseconds: 50 }))
    expect(error.message).toBe('the engine did not answer cache.list in time')
  })

  test.each(['', 'hello', '{"half":', '[1'])('answers %j', async (body) => {
    await serve((_request, response) => response.end(body))
    expect((await failure(client.get('cache.list', {}))).message).toContain('is no engine')
  })

  test('is no HTTP server', async () => {
    const server = createPlainServer((connection) => connection.end('\0\0\0garbage\r\n\r\n'))
    servers.push(server)
    server.listen(socket)
    await once(server, 'listening')
    expect((await failure(client.get('cache.list', {}))).code).toBe('ENGINE_UNAVAILABLE')
  })
})

test('a read on a kept connection that the engine has closed is asked again', async () => {
  let count = 0
  await serve((request, response) => {
    count++
    response.end(`{"count":${count}}`)
    // Closed after the answer, as an engine does that is being replaced.
    setTimeout(() => request.socket.destroy(), 20)
  })
  await client.get('cache.list', {})
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(await client.get('cache.list', {})).toEqual({ count: 2 })
})

test('a read that an engine did not answer is asked again of the next', async () => {
  await supervisorSays({ state: 'starting' })
  let count = 0
  await serve((request, response) => {
    if (++count === 1) request.socket.destroy()
    else response.end('{"caches":[]}')
  })
  expect(await client.get('cache.list', {})).toEqual({ caches: [] })
  count = 0
  expect((await failure(client.post('engine.restart', {}))).code).toBe('ENGINE_UNAVAILABLE')
  expect(count).toBe(1)
})

test('the caller ends the waiting', async () => {
  await serve(() => undefined)
  const abort = new AbortController()
  const asked = failure(client.get('cache.list', {}, { signal: abort.signal }))
  setTimeout(() => abort.abort(), 20)
  expect(await asked).toMatchObject({ code: 'INTERRUPTED', exit: 130 })
})

test('the client loads nothing heavy', async () => {
  const { readFile } = await import('node:fs/promises')
  const source = await readFile(new URL('../../../../src/protocol/control/control-client.ts', import.meta.url), 'utf8')
  const imported = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1]!)
  expect(imported.filter((name) => !name.startsWith('node:') && !name.startsWith('.'))).toEqual([])
  expect(imported).not.toContain('./schemas.js')
})
