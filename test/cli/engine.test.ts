/** The command line with a real, private engine: who starts one, and how it is stopped. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { environmentOf } from '../support/fake-control.js'
import { run, until } from '../support/processes.js'
import { VMCACHE } from '../support/vmcache.js'

let directory: string
let environment: Record<string, string>
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-cli-engine-'))
  environment = environmentOf(directory)
  writeFileSync(join(directory, 'disk.raw'), '')
  truncateSync(join(directory, 'disk.raw'), 8 * 1024 ** 2)
})
afterAll(async () => {
  await vmcache('engine', 'stop', '--force')
  rmSync(directory, { recursive: true })
})

const vmcache = (...args: string[]) => run(VMCACHE, args, { env: environment, cwd: directory })
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await vmcache(...args, '--json')
  return { code, stderr, document: JSON.parse(stdout) as Record<string, unknown> }
}

test('what reads says that no engine runs, and starts none', async () => {
  expect(await json('status')).toMatchObject({ code: 6, document: { error: { code: 'ENGINE_UNAVAILABLE' } } })
  expect(await json('engine', 'status')).toMatchObject({ code: 6 })
  expect(await json('engine', 'stop')).toMatchObject({ code: 0, document: { changed: false } })
  expect(await json('engine', 'start', '--dry-run')).toMatchObject({
    code: 0,
    document: { changed: true, dryRun: true, steps: ['start the engine'], engine: null },
  })
  expect(existsSync(join(directory, 'run', 'control.sock'))).toBe(false)
})

test('what changes something starts one, and says so', async () => {
  const created = await json('cache', 'create', 'tiny', '--device', 'tiny,size=32m', '--chunk-size', '1m')
  expect(created).toMatchObject({ code: 0, document: { changed: true, cache: { name: 'tiny' } } })
  expect(created.stderr).toBe('no engine runs, starting one for cache create\n')
  expect(await json('cache', 'list')).toMatchObject({ code: 0, document: { caches: [{ name: 'tiny' }] } })
})

test('asking again changes nothing; asking for something else is a conflict', async () => {
  const again = await json('cache', 'create', 'tiny', '--device', 'tiny,size=32m', '--chunk-size', '1m')
  expect(again).toMatchObject({ code: 0, stderr: '', document: { changed: false } })
  const other = await json('cache', 'create', 'tiny', '--device', 'other,size=64m', '--chunk-size', '2m')
  expect(other).toMatchObject({ code: 4, document: { error: { code: 'CACHE_EXISTS' } } })
})

test('a disk comes, is seen everywhere, and goes', async () => {
  const attached = await vmcache('cache', 'attach', 'tiny', 'disk.raw')
  expect(attached).toMatchObject({ code: 0, stderr: '' })
  expect(attached.stdout).toMatch(/^nbd\+unix:\/\/\/disk\?socket=.*\n$/)
  expect((await vmcache('__complete', 'disk')).stdout).toBe('disk\n')
  for (const line of [
    'status',
    'cache show tiny',
    'disk list',
    'disk show disk',
    'device list',
    'stats',
    'stats --latency',
    'job list',
    'event list',
    'policy show --disk disk',
    'config show',
    'stats export --prometheus',
    'engine status',
  ]) {
    expect(await vmcache(...line.split(' ')), line).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/\w/),
    })
  }
  expect(await json('policy', 'set', '--disk', 'disk', '--mode', 'write-around', '--max', '50%')).toMatchObject({
    code: 0,
    document: { changed: true, disk: { mode: { wanted: 'write-around' } } },
  })
  expect(await json('disk', 'flush', '--all')).toMatchObject({
    code: 0,
    document: { results: [{ name: 'disk', ok: true }] },
  })
  expect(await json('disk', 'flush', 'none')).toMatchObject({ code: 3 })
  expect(await json('cache', 'detach', 'disk')).toMatchObject({ code: 0, document: { changed: true } })
  expect(await json('disk', 'list')).toMatchObject({ document: { disks: [] } })
})

test('a restart is another engine', async () => {
  const { document: before } = await json('engine', 'status')
  expect(await json('engine', 'restart')).toMatchObject({ code: 0, document: { changed: true } })
  const { document: after } = await json('engine', 'status')
  expect(after['pid']).not.toBe(before['pid'])
  expect(after['caches']).toEqual(['tiny'])
})

test('a stop ends it, a start starts it once', async () => {
  expect(await json('engine', 'stop')).toMatchObject({ code: 0, document: { changed: true } })
  expect(await json('cache', 'list')).toMatchObject({ code: 6 })
  expect(await json('engine', 'start')).toMatchObject({
    code: 0,
    document: { changed: true, engine: { state: 'running' } },
  })
  expect(await json('engine', 'start')).toMatchObject({ code: 0, document: { changed: false } })
  expect(await json('engine', 'stop')).toMatchObject({ code: 0, document: { changed: true } })
})

test('in the foreground it ends with SIGTERM', async () => {
  const child = spawn(VMCACHE, ['engine', 'start', '--foreground'], {
    env: { ...process.env, ...environment },
    stdio: 'ignore',
  })
  await until('the engine', async () => (await vmcache('engine', 'status')).code === 0)
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([0, null])
  expect((await vmcache('engine', 'status')).code).toBe(6)
})

test('an engine that cannot start is 6 or says what is wrong', async () => {
  const file = join(directory, 'broken.yaml')
  writeFileSync(file, 'io-threads: many\n')
  expect(await json('engine', 'start', '--config', file)).toMatchObject({
    code: 2,
    document: { error: { code: 'BAD_CONFIG' } },
  })
  const blocked = join(directory, 'blocked')
  writeFileSync(blocked, '')
  expect(await json('engine', 'start', '--state-dir', join(blocked, 'state'))).toMatchObject({
    code: 6,
    document: { error: { code: 'ENGINE_START_FAILED' } },
  })
})

test('install lays down files for another system, and uninstall takes them away', async () => {
  const root = join(directory, 'root')
  const planned = await json('engine', 'install', '--root', root, '--dry-run')
  expect(planned).toMatchObject({ code: 0, document: { changed: true, dryRun: true } })
  expect(existsSync(root)).toBe(false)
  expect(await json('engine', 'install', '--root', root)).toMatchObject({ code: 0, document: { changed: true } })
  expect(existsSync(join(root, 'etc/systemd/system/vmcache.service'))).toBe(true)
  expect(await json('engine', 'install', '--root', root)).toMatchObject({ code: 0, document: { changed: false } })
  expect(await json('engine', 'uninstall', '--root', root)).toMatchObject({ code: 2 })
  expect(await json('engine', 'uninstall', '--root', root, '--yes')).toMatchObject({
    code: 0,
    document: { changed: true },
  })
  expect(existsSync(join(root, 'etc/systemd/system/vmcache.service'))).toBe(false)
})
