/**
 * The real processes, from dist/: what the supervisor holds outlives its engines, there is one engine, and every end leaves
 * things so that the next start finds what it needs.
 */
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { isRunning } from '../../src/base/system-calls.js'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import { controlClient, controlSocketPath } from '../../src/protocol/control/control-client.js'
import type * as startEngine from '../../src/protocol/control/start-engine.js'
import { startEngineProcess, type EngineProcess, type EngineProcessOptions } from '../support/engine-process.js'
import { run, until } from '../support/processes.js'
import { connectSimpleNbd } from '../support/simple-nbd-client.js'

/** Built: it starts what lies beside it. */
const { startInBackground, waitUntilStopped } = (await import(
  '../../dist/protocol/control/start-engine.js' as string
)) as typeof startEngine

const engines: EngineProcess[] = []
const directories: string[] = []

async function start(options?: EngineProcessOptions): Promise<EngineProcess> {
  const engine = await startEngineProcess(options)
  engines.push(engine)
  return engine
}

afterEach(async () => {
  for (const engine of engines.splice(0).reverse()) await engine.remove()
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true })
})

/** Results of changes are waited for, however busy the machine is. */
const WAIT = { waitMilliseconds: 60_000 }

/** A cache in a file and a disk image of 64 MiB behind it. */
async function serveDisk(engine: EngineProcess): Promise<{ image: string; socket: string }> {
  const image = join(engine.directory, 'web.img')
  await writeFile(image, '')
  await truncate(image, 64 * 1024 * 1024)
  await engine.client.post(
    'cache.create',
    {
      name: 'fast',
      devices: [{ path: join(engine.directory, 'ssd.img'), sizeBytes: 256 * 1024 * 1024 }],
      blockSizeBytes: 4096,
      chunkSizeBytes: 1024 * 1024,
      force: false,
      dryRun: false,
    },
    WAIT,
  )
  const attach = await engine.client.post(
    'cache.attach',
    {
      cache: 'fast',
      origin: image,
      name: 'web',
      mode: 'write-through',
      replacement: 's3-fifo',
      minBytes: 0,
      maxBytes: null,
      shares: 100,
      writeBack: DEFAULT_WRITE_BACK,
      readOnly: false,
      exclusive: false,
      dryRun: false,
    },
    WAIT,
  )
  return { image, socket: attach.result!.disk!.socket }
}

/** The first bytes that an NBD server says: `NBDMAGIC`. */
async function greeting(socket: string): Promise<string> {
  const client = connect(socket)
  try {
    const [bytes] = (await once(client, 'data')) as [Buffer]
    return bytes.subarray(0, 8).toString('latin1')
  } finally {
    client.destroy()
  }
}

const post = (engine: EngineProcess, operation: 'engine.restart') => engine.client.post(operation, {}, WAIT)

describe('S1: an engine that is killed', () => {
  test('is replaced behind its sockets: a client that connects in between is answered by the next', async () => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const first = connect(socket)
    await once(first, 'data')
    const inode = statSync(socket).ino
    const pid = engine.enginePid()
    const dropped = once(first, 'close')
    process.kill(pid, 'SIGKILL')
    await dropped
    expect(await greeting(socket)).toBe('NBDMAGIC')
    expect(engine.enginePid()).not.toBe(pid)
    expect(statSync(socket).ino).toBe(inode)
    expect(engine.supervisor.exitCode).toBeNull()
    const { disks } = await engine.client.get('disk.list', {})
    expect(disks).toMatchObject([{ disk: 'web', state: 'serving' }])
  })

  test('in the middle of a request: the client is told, reads wait, the supervisor lives', async () => {
    const engine = await start()
    const pid = engine.enginePid()
    const asked = post(engine, 'engine.restart').catch((error: unknown) => error)
    process.kill(pid, 'SIGKILL')
    await asked
    const status = await engine.client.get('engine.status', {})
    expect(status.pid).not.toBe(pid)
    expect(engine.supervisor.exitCode).toBeNull()
  })

  test('again and again is replaced more and more slowly, and the status says why', async () => {
    const engine = await start()
    for (let round = 0; round < 3; round++) await engine.killEngine()
    expect(engine.status()?.engine).toMatchObject({
      state: 'running',
      failures: 3,
      lastEnd: { reason: 'it was ended by SIGKILL' },
    })
  })

  test('that hangs is killed and replaced: its disks are served again', async () => {
    const engine = await start({ configuration: 'hang-timeout: 3s\n' })
    const { socket } = await serveDisk(engine)
    const client = await connectSimpleNbd(socket)
    await client.write(0, Buffer.alloc(4096, 7))
    await client.flush()
    const hung = engine.enginePid()
    process.kill(hung, 'SIGSTOP')
    await engine.nextEngine(hung)
    await client.closed
    expect(engine.status()?.engine.lastEnd?.reason).toBe('it said nothing for 3 s, and was killed')
    const again = await connectSimpleNbd(socket)
    expect(await again.read(0, 4096)).toEqual(Buffer.alloc(4096, 7))
    await again.close()
  })

  test('leaves its list of jobs to the next', async () => {
    const engine = await start()
    await serveDisk(engine)
    await engine.killEngine()
    const { jobs } = await engine.client.get('job.list', {})
    expect(jobs.map(({ kind, object, state }) => [kind, object, state])).toEqual([
      ['cache.attach', 'disk web', 'done'],
      ['cache.create', 'cache fast', 'done'],
    ])
  })
})

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('by %s closes everything', async (signal) => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const pid = engine.enginePid()
    expect(await engine.end(signal)).toBe(0)
    expect(isRunning(pid)).toBe(false)
    expect(existsSync(socket)).toBe(false)
    expect(existsSync(controlSocketPath(engine.runDir))).toBe(false)
    expect(engine.status()).toBeNull()
    expect(await tenure(engine)).toMatchObject({ end: { clean: true }, unsettled: null })
  })

  test('by the control API answers first', async () => {
    const engine = await start()
    const { result } = await engine.client.post('engine.stop', { detach: false, force: false }, WAIT)
    expect(result).toEqual({ changed: true })
    expect(await waitUntilStopped(engine, 60_000)).toBe(true)
    await until('the end of the supervisor', () => engine.supervisor.exitCode === 0)
  })

  test('is refused while a client is connected, unless somebody insists', async () => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const client = connect(socket)
    await once(client, 'data')
    const stop = (force: boolean) => engine.client.post('engine.stop', { detach: false, force }, WAIT)
    await expect(stop(false)).rejects.toMatchObject({
      code: 'REFUSED',
      message: 'clients are connected to web: they would wait for the next engine',
    })
    expect((await stop(true)).result).toEqual({ changed: true })
    client.destroy()
    expect(await waitUntilStopped(engine, 60_000)).toBe(true)
  })

  test('of a supervisor that is killed takes its engine with it, and the next start cleans up', async () => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const pid = engine.enginePid()
    await engine.end('SIGKILL')
    await until('the end of the engine', () => !existsSync(`/proc/${pid}`))
    expect(existsSync(socket)).toBe(true)
    expect(await tenure(engine)).toMatchObject({ end: null })
    const next = await start({ directory: engine.directory })
    expect(await next.log()).toContain('"previousEnd":{"kind":"lost"')
    expect(await greeting(socket)).toBe('NBDMAGIC')
  })
})

describe('one engine', () => {
  test('a second supervisor of the same directories is refused and says who is there', async () => {
    const engine = await start()
    const second = await start({ directory: engine.directory, wait: false })
    await until('the end of the second', () => second.supervisor.exitCode !== null)
    expect(second.supervisor.exitCode).toBe(4)
    expect(await engine.log()).toContain(
      `an engine already runs in ${engine.stateDir} (its supervisor is process ${engine.supervisor.pid})`,
    )
    expect((await engine.client.get('engine.status', {})).state).toBe('running')
  })

  test('a state directory has one engine, whatever the run directory', async () => {
    const engine = await start()
    const args = [
      'dist/daemon/main.js',
      '--user',
      '--state-dir',
      engine.stateDir,
      '--run-dir',
      join(engine.directory, 'other'),
    ]
    const outcome = await run(process.execPath, args, { cwd: join(import.meta.dirname, '..', '..') })
    expect(outcome.code).toBe(4)
    expect(outcome.stderr).toContain('"code":"IN_USE"')
  })
})

describe('replacing the engine', () => {
  test.each(['the control API', 'SIGHUP'])('by %s keeps supervisor and sockets', async (way) => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const inode = statSync(socket).ino
    const pid = engine.enginePid()
    if (way === 'SIGHUP') engine.supervisor.kill('SIGHUP')
    else expect((await post(engine, 'engine.restart')).result).toEqual({ changed: true })
    await engine.nextEngine(pid)
    expect(statSync(socket).ino).toBe(inode)
    expect(await greeting(socket)).toBe('NBDMAGIC')
    expect(await engine.log()).toContain('"previousEnd":{"kind":"clean"')
    expect(engine.status()?.engine.failures).toBe(0)
  })

  test('reads the configuration again, and a broken one costs nothing', async () => {
    const engine = await start()
    const pid = engine.enginePid()
    await writeFile(join(engine.directory, 'config.yaml'), 'io-threads: many\n')
    await expect(post(engine, 'engine.restart')).rejects.toMatchObject({ code: 'BAD_CONFIG' })
    engine.supervisor.kill('SIGHUP')
    await until('the complaint', async () => (await engine.log()).includes('the engine is not replaced'))
    expect(engine.enginePid()).toBe(pid)
    await writeFile(join(engine.directory, 'config.yaml'), 'io-threads: 1\n')
    await post(engine, 'engine.restart')
    await engine.nextEngine(pid)
    expect((await engine.client.get('engine.status', {})).ioThreads).toBe(1)
  })

  test('SIGUSR1 holds it, SIGUSR2 lets it run again', async () => {
    const engine = await start()
    const { socket } = await serveDisk(engine)
    const pid = engine.enginePid()
    engine.supervisor.kill('SIGUSR1')
    await until('a held engine', () => engine.status()?.engine.state === 'held')
    const waiting = greeting(socket)
    engine.supervisor.kill('SIGUSR2')
    await engine.nextEngine(pid)
    expect(await waiting).toBe('NBDMAGIC')
  })
})

test('the engine has threads for all that origins may have in flight, and no open file too many', async () => {
  const engine = await start({ configuration: 'max-disks: 10\n' })
  const environment = readFileSync(`/proc/${engine.enginePid()}/environ`, 'utf8').split('\0')
  expect(environment).toContain('UV_THREADPOOL_SIZE=144')
  // A program that the engine starts must not inherit its locks: it would keep the next supervisor out.
  const flags = [3, 4, 5, 6].map((descriptor) =>
    readFileSync(`/proc/${engine.enginePid()}/fdinfo/${descriptor}`, 'utf8'),
  )
  for (const text of flags) expect(Number.parseInt(/flags:\s+(\d+)/.exec(text)![1]!, 8) & 0o2000000).not.toBe(0)
})

test('an engine that cannot start is tried again, and its status says why', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  directories.push(directory)
  await writeFile(join(directory, 'state.db'), 'this is no database, but it is long enough to be one'.repeat(100))
  const engine = await start({
    directory,
    wait: false,
    configuration: `state-url: sqlite:${join(directory, 'state.db')}\n`,
  })
  await until('three tries', () => (engine.status()?.engine.failures ?? 0) >= 3)
  expect(engine.status()?.engine.lastEnd?.reason).toContain(join(directory, 'state.db'))
  expect(engine.supervisor.exitCode).toBeNull()
  await expect(engine.client.get('cache.list', {}, { timeoutMilliseconds: 100 })).rejects.toMatchObject({
    code: 'ENGINE_UNAVAILABLE',
  })
  await rm(join(directory, 'state.db'))
  await engine.nextEngine(0)
  expect(await engine.end()).toBe(0)
})

describe('starting in the background', () => {
  async function directoriesFor(): Promise<{ stateDir: string; runDir: string }> {
    const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
    directories.push(directory)
    return { stateDir: join(directory, 'state'), runDir: join(directory, 'run') }
  }
  const options = { user: true, configFile: null }

  test('ends when the engine answers, and is nothing where one runs', async () => {
    const at = await directoriesFor()
    await startInBackground(at, options)
    const client = controlClient(controlSocketPath(at.runDir))
    const { pid } = await client.get('engine.status', {})
    await startInBackground(at, options)
    expect((await client.get('engine.status', {})).pid).toBe(pid)
    await client.post('engine.stop', { detach: false, force: false }, WAIT)
    client.close()
    expect(await waitUntilStopped(at, 60_000)).toBe(true)
    expect(readdirSync(at.runDir)).toEqual(['supervisor.lock'])
  })

  test('a broken configuration is told as it is', async () => {
    const at = await directoriesFor()
    const configFile = join(at.stateDir, '..', 'config.yaml')
    await writeFile(configFile, '\nio-threads: many\n')
    await expect(startInBackground(at, { ...options, configFile })).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: `file ${configFile} line 2: io-threads is "many": expected a whole number from 1 to 64`,
    })
  })

  test('a directory that cannot be made is an error at once', async () => {
    const at = { stateDir: '/proc/vmcache/state', runDir: '/proc/vmcache/run' }
    await expect(startInBackground(at, options)).rejects.toMatchObject({ code: 'ENGINE_START_FAILED' })
  })

  test('an engine that does not start is told with its reason', async () => {
    const at = await directoriesFor()
    const configFile = join(at.stateDir, '..', 'config.yaml')
    await writeFile(configFile, 'state-url: sqlite:/nonexistent/state.db\n')
    await expect(startInBackground(at, { ...options, configFile })).rejects.toMatchObject({
      code: 'ENGINE_START_FAILED',
      message: expect.stringContaining('/nonexistent/state.db'),
    })
    const supervisor = JSON.parse(await readFile(join(at.runDir, 'supervisor.json'), 'utf8')) as { pid: number }
    process.kill(supervisor.pid, 'SIGTERM')
    expect(await waitUntilStopped(at, 60_000)).toBe(true)
  })
})

async function tenure(engine: EngineProcess): Promise<unknown> {
  return JSON.parse(await readFile(join(engine.stateDir, 'tenure.json'), 'utf8'))
}
