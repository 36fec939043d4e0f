/**
 * What an engine asks of its supervisor, with real processes and descriptors: the engine here is a few lines that use the real
 * link, and the supervisor's side is this test with the real owners of locks and sockets. From dist/.
 */
import { once } from 'node:events'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { lockImage } from '../../src/base/image-lock.js'
import { silentLogger } from '../../src/base/logger.js'
import { spawnEngine } from '../../src/daemon/engine-child.js'
import type { EngineChild } from '../../src/daemon/engine-keeper.js'
import { imageLockList } from '../../src/daemon/image-lock-list.js'
import { createImageLockOwner, type ImageLockOwner } from '../../src/daemon/image-lock-owner.js'
import { createSocketOwner, type SocketOwner } from '../../src/daemon/socket-owner.js'
import { testWith } from '../support/packages.js'
import { run, until } from '../support/processes.js'

const link = pathToFileURL(join(import.meta.dirname, '..', '..', 'dist', 'daemon', 'supervisor-link.js')).href

let directory: string
let image: string
let entry: string
let locks: ImageLockOwner
let sockets: SocketOwner
let children: EngineChild[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-child-'))
  image = join(directory, 'web.img')
  entry = join(directory, 'engine.mjs')
  await writeFile(image, '')
  await truncate(image, 1024 * 1024)
  locks = createImageLockOwner({
    acquire: lockImage,
    list: imageLockList(directory),
    clock: systemClock,
    logger: silentLogger,
  })
  sockets = createSocketOwner(directory, { mode: 0o600, gid: null })
  children = []
})
afterEach(async () => {
  for (const child of children) {
    child.kill()
    await child.exited
  }
  sockets.closeAll()
  await locks.releaseAll()
  await rm(directory, { recursive: true })
})

/** Starts an engine that does `body`, with `link` and `start` in scope; `said` are its messages. */
async function start(body: string): Promise<{ child: EngineChild; said: object[] }> {
  const prelude = `import { createServer } from 'node:net'
import { linkToSupervisor } from ${JSON.stringify(link)}
const link = linkToSupervisor({ onStop: () => link.close(() => process.exit(0)), onGone: () => process.exit(9) })
const start = await link.started\n`
  await writeFile(entry, prelude + body)
  const said: object[] = []
  const child = spawnEngine({
    entry,
    start: {
      flags: { config: '/c' },
      user: true,
      previousEnd: { kind: 'none', at: null, sameSupervisor: false },
      withoutCaches: null,
    },
    threadPoolSize: 8,
    lockDescriptors: [],
    async serve(request) {
      const { path } = request
      if (request.what === 'listen') return sockets.listen(path)
      if (request.what === 'close') sockets.close(path)
      else if (request.what === 'lock') await locks.lock(path, request.disk)
      else await locks.unlock(path)
      return null
    },
    onMessage: (message) => said.push(message),
  })
  children.push(child)
  return { child, said }
}

const runs = (said: object[]) => until('the engine', () => said.length > 0)
const path = (name: string) => JSON.stringify(join(directory, name))

test('an engine is told how it starts, asked to stop, and its last words are heard', async () => {
  const { child, said } = await start(`link.say({ say: 'failed', reason: JSON.stringify(start) })`)
  await runs(said)
  const [{ reason }] = said as [{ reason: string }]
  expect(JSON.parse(reason)).toEqual({
    say: 'start',
    flags: { config: '/c' },
    user: true,
    previousEnd: { kind: 'none', at: null, sameSupervisor: false },
    withoutCaches: null,
  })
  child.stop(false)
  expect(await child.exited).toEqual({ code: 0, signal: null })
})

testWith(['qemu-io'], 'an image lock outlives its engine, and ends when the next one says so', async () => {
  const write = () => run('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', image])
  const first = await start(`await link.locks.lock(${path('web.img')}, 'web'); link.say({ say: 'running' })`)
  await runs(first.said)
  expect((await write()).stderr).toContain('Failed to get')
  first.child.kill()
  expect(await first.child.exited).toEqual({ code: null, signal: 'SIGKILL' })
  expect((await write()).stderr).toContain('Failed to get')
  // The next engine locks it again, which changes nothing, and lets it go.
  const second = await start(`await link.locks.lock(${path('web.img')}, 'web'); link.say({ say: 'running' })
await link.locks.unlock(${path('web.img')}); link.say({ say: 'running' })`)
  await until('both', () => second.said.length === 2)
  expect((await write()).code).toBe(0)
})

test('a client that connects between two engines is served by the second', async () => {
  const serve = (answer: string) => `const fd = await link.sockets.listen(${path('disks/web.sock')})
createServer((client) => client.end(${JSON.stringify(answer)})).listen({ fd }, () => link.say({ say: 'running' }))`
  const ask = async () => {
    const client = connect(join(directory, 'disks', 'web.sock'))
    const [bytes] = (await once(client, 'data')) as [Buffer]
    client.destroy()
    return bytes.toString()
  }
  const first = await start(serve('first'))
  await runs(first.said)
  expect(await ask()).toBe('first')
  first.child.kill()
  await first.child.exited
  const waiting = ask()
  await start(serve('second'))
  expect(await waiting).toBe('second')
})

test('many sockets at a time each get their own descriptor', async () => {
  const { said } = await start(`const names = Array.from({ length: 50 }, (_, index) => ${path('d')} + index + '.sock')
const descriptors = await Promise.all(names.map((name) => link.sockets.listen(name)))
for (const [index, fd] of descriptors.entries()) {
  await new Promise((ready) => createServer((client) => client.end('d' + index + '.sock')).listen({ fd }, ready))
}
link.say({ say: 'running' })`)
  await runs(said)
  for (let index = 0; index < 50; index++) {
    const client = connect(join(directory, `d${index}.sock`))
    const [bytes] = (await once(client, 'data')) as [Buffer]
    expect(bytes.toString()).toBe(`d${index}.sock`)
  }
})

test('what cannot be done is an error of that request alone', async () => {
  const { said } = await start(`const reasons = []
await link.locks.lock('/nonexistent/image').catch((error) => reasons.push(error.code))
await link.sockets.listen('/nonexistent/x.sock').catch((error) => reasons.push(error.code))
await link.sockets.close(${path('none.sock')})
await link.locks.unlock(${path('none.img')})
link.say({ say: 'failed', reason: reasons.join(' ') })`)
  await runs(said)
  expect(said).toEqual([{ say: 'failed', reason: 'ORIGIN_NOT_FOUND FAILED' }])
})

test('garbage on the channel ends the connection, not the supervisor', async () => {
  const { child } = await start(`import('node:fs').then(({ writeSync }) => writeSync(3, 'this is no message\\n'))`)
  expect(await child.exited).toEqual({ code: 9, signal: null })
})
