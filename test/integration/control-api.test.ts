/**
 * The control socket with raw clients: what it answers, whom it takes them for, and that no client, however broken, slow or
 * numerous, hurts another.
 */
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../src/base/errors.js'
import { silentLogger } from '../../src/base/logger.js'
import { openControlServer, type ControlServer, type ControlService } from '../../src/daemon/control-server.js'
import { controlClient } from '../../src/protocol/control/control-client.js'
import type { JobDocument } from '../../src/protocol/control/documents.js'
import { testUnless, whyNotRoot } from '../support/conditions.js'

let directory: string
let path: string
let server: ControlServer
let asked: { operation: string; request: unknown; who: string; wait?: number }[]
let answer: (operation: string) => unknown
let sockets: Socket[]

const job: JobDocument = {
  id: '1',
  kind: 'cache.delete',
  object: 'cache fast',
  state: 'done',
  progress: null,
  createdAt: '',
  endedAt: '',
  result: null,
  error: null,
}

const service: ControlService = {
  async read(operation, request, who) {
    asked.push({ operation, request, who })
    return answer(operation)
  },
  async change(operation, request, who, wait) {
    asked.push({ operation, request, who, wait })
    return { job, result: await answer(operation) }
  },
  metrics: async () => 'vmcache_up 1\n',
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-control-'))
  path = join(directory, 'control.sock')
  asked = []
  sockets = []
  answer = () => ({ caches: [] })
  server = await openControlServer(path, { mode: 0o600, gid: null }, service, silentLogger)
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await server.close(100)
  await rm(directory, { recursive: true })
})

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string
}

function ask(method: string, url: string, body?: string | Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath: path, method, path: url, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => (text += part))
      response.once('end', () => resolve({ status: response.statusCode!, headers: response.headers, body: text }))
    })
    request.once('error', reject)
    request.end(body)
  })
}

async function open(): Promise<Socket> {
  const socket = connect(path)
  socket.on('error', () => undefined)
  sockets.push(socket)
  await once(socket, 'connect')
  return socket
}

const errorOf = (response: Answer) => (JSON.parse(response.body) as { error: { code: string; message: string } }).error

test('a read and a change arrive with who asked', async () => {
  expect(await ask('GET', '/v1/cache/list')).toMatchObject({ status: 200, body: '{"caches":[]}\n' })
  expect(await ask('POST', '/v1/cache/delete?waitMilliseconds=7', '{"name":"fast"}')).toMatchObject({ status: 200 })
  const { uid, username } = userInfo()
  const who = `${username} (uid ${uid})`
  expect(asked).toEqual([
    { operation: 'cache.list', request: {}, who },
    { operation: 'cache.delete', request: { name: 'fast', discardDirty: false, dryRun: false }, who, wait: 7 },
  ])
})

test('metrics are text', async () => {
  const response = await ask('GET', '/metrics')
  expect(response).toMatchObject({ status: 200, body: 'vmcache_up 1\n' })
  expect(response.headers['content-type']).toContain('text/plain; version=0.0.4')
})

test('the socket is private where there is no group for it', () => {
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

testUnless(whyNotRoot, 'S6: the socket of the machine is for root and its group', async () => {
  const other = join(directory, 'machine.sock')
  const machine = await openControlServer(other, { mode: 0o660, gid: 6 }, service, silentLogger)
  expect(statSync(other)).toMatchObject({ uid: 0, gid: 6 })
  expect(statSync(other).mode & 0o777).toBe(0o660)
  await machine.close(0)
})

describe('errors', () => {
  test.each([
    ['GET', '/', undefined, 404, 'NOT_FOUND'],
    ['GET', '/v1/cache', undefined, 404, 'NOT_FOUND'],
    ['GET', '/v1/cache/list/more', undefined, 404, 'NOT_FOUND'],
    ['GET', '/v2/cache/list', undefined, 404, 'NOT_FOUND'],
    ['GET', '/v1/__proto__/x', undefined, 404, 'NOT_FOUND'],
    ['GET', '/v1/cache/list?%', undefined, 400, 'BAD_REQUEST'],
    ['GET', '/v1/cache/list?x=1', undefined, 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/list', undefined, 405, 'BAD_REQUEST'],
    ['DELETE', '/v1/cache/delete', undefined, 405, 'BAD_REQUEST'],
    ['POST', '/metrics', undefined, 405, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', '{"name":', 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', '{}', 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', '\0\0', 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', `{"name":"${'x'.repeat(5000)}"}`, 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', '['.repeat(500_000), 400, 'BAD_REQUEST'],
    ['POST', '/v1/cache/delete', 'x'.repeat(1024 * 1024 + 1), 413, 'BAD_REQUEST'],
  ])('%s %s', async (method, url, body, status, code) => {
    const response = await ask(method, url, body)
    expect(response.status).toBe(status)
    expect(errorOf(response).code).toBe(code)
    expect(errorOf(response).message).not.toContain('\n')
    expect(asked).toEqual([])
  })

  test('a wrong method says which is right', async () => {
    expect((await ask('POST', '/v1/cache/list')).headers['allow']).toBe('GET')
  })

  test.each([
    ['CACHE_NOT_FOUND', 404],
    ['JOB_CONFLICT', 409],
    ['NO_SPACE', 507],
    ['REFUSED', 422],
    ['ENGINE_UNAVAILABLE', 503],
    ['DENIED', 403],
    ['TIMEOUT', 504],
    ['ORIGIN_FAILED', 502],
    ['CORRUPT', 500],
  ] as const)('%s has status %i', async (code, status) => {
    answer = () => {
      throw new VmcacheError(code, 'no')
    }
    const response = await ask('GET', '/v1/cache/list')
    expect(response.status).toBe(status)
    expect(errorOf(response).code).toBe(code)
  })

  test('a bug is an error document too', async () => {
    answer = () => {
      throw new TypeError('x is not a function')
    }
    const response = await ask('GET', '/v1/cache/list')
    expect(response.status).toBe(500)
    expect(errorOf(response)).toMatchObject({ code: 'INTERNAL', message: 'x is not a function' })
  })
})

describe('S5: broken clients hurt nobody', () => {
  const isWell = async () => expect((await ask('GET', '/v1/cache/list')).status).toBe(200)

  test('one that goes away in the middle of its request, or of its answer', async () => {
    for (const text of ['', 'GET', 'POST /v1/cache/delete HTTP/1.1\r\ncontent-length: 100\r\n\r\n{"na']) {
      const socket = await open()
      socket.write(text)
      socket.destroy()
    }
    let go: (value: unknown) => void = () => undefined
    answer = () => new Promise((resolve) => (go = resolve))
    const socket = await open()
    socket.write('GET /v1/cache/list HTTP/1.1\r\nhost: x\r\n\r\n')
    await expect.poll(() => asked.length).toBe(1)
    socket.destroy()
    go({ caches: [] })
    answer = () => ({ caches: [] })
    await isWell()
  })

  test('one that does not read', async () => {
    answer = () => ({ text: 'x'.repeat(64 * 1024 * 1024) })
    const socket = await open()
    socket.pause()
    socket.write('GET /v1/cache/list HTTP/1.1\r\nhost: x\r\n\r\n')
    await expect.poll(() => asked.length).toBe(1)
    answer = () => ({ caches: [] })
    await isWell()
  })

  test('one that sends a header without end', async () => {
    const socket = await open()
    const closed = once(socket, 'close')
    socket.resume()
    socket.write(`GET / HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`)
    await closed
    await isWell()
  })

  test('hundreds at a time, most of which say nothing', async () => {
    const silent = await Promise.all(Array.from({ length: 400 }, open))
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask('GET', '/v1/cache/list')))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    for (const socket of silent) socket.destroy()
  })

  test('one after the other on a kept connection', async () => {
    const client = controlClient(path)
    for (let index = 0; index < 200; index++) await client.get('cache.list', {})
    client.close()
    expect(asked).toHaveLength(200)
  })
})

test('closing lets an answer that is on its way arrive, and waits for nobody else', async () => {
  let go: (value: unknown) => void = () => undefined
  answer = () => new Promise((resolve) => (go = resolve))
  await open()
  const asking = ask('GET', '/v1/cache/list')
  await expect.poll(() => asked.length).toBe(1)
  const start = performance.now()
  const closing = server.close(10_000)
  go({ caches: [] })
  expect((await asking).status).toBe(200)
  await closing
  expect(performance.now() - start).toBeLessThan(5000)
})

test('the socket of a dead engine is replaced', async () => {
  await server.close(0)
  writeFileSync(path, '')
  server = await openControlServer(path, { mode: 0o600, gid: null }, service, silentLogger)
  expect((await ask('GET', '/v1/cache/list')).status).toBe(200)
})
