/** Without a terminal: no colours, no spinners, no prompts, no chatter; closed pipes are nobody's error. */
import { spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testUnless, whyNotRoot } from '../support/conditions.js'
import * as sample from '../support/sample-documents.js'
import { run } from '../support/processes.js'
import { VMCACHE, commandLineTest, type CommandLineTest } from '../support/vmcache.js'

let cli: CommandLineTest
beforeAll(async () => {
  cli = await commandLineTest({
    'engine.status': sample.engine,
    'cache.list': { caches: [sample.fast] },
    'disk.list': { disks: [] },
    'device.list': { devices: [] },
    'job.list': { jobs: [] },
    'event.list': { events: [] },
    'stats.show': sample.stats,
    'disk.flush': { polls: 5, ends: { changed: false, results: [] } },
  })
})
afterAll(() => cli.stop())

test('a table in a pipe has no colours and is not cut', async () => {
  const { code, stdout, stderr } = await cli.run('cache', 'list')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout.split('\n')).toHaveLength(3)
  expect(stdout).toMatch(/^CACHE +STATE .*DEVICES\nfast +degraded/)
  expect(stdout).not.toContain('\u001b')
})

test.each(['disk list', 'device list', 'job list', 'event list'])(
  'an empty %s says nothing in a pipe',
  async (line) => {
    expect(await cli.run(...line.split(' '))).toEqual({ code: 0, stdout: '', stderr: '' })
  },
)

test('a change whose filter fits nothing is success and says nothing', async () => {
  expect(await cli.run('disk', 'flush', '--all')).toEqual({ code: 0, stdout: '', stderr: '' })
})

test('waiting shows nothing in a pipe', async () => {
  expect(await cli.run('disk', 'flush', 'web*')).toEqual({ code: 0, stdout: '', stderr: '' })
})

test('who reads only the first line leaves no error behind', () => {
  const environment = { ...process.env, ...cli.environment }
  const line = `"${VMCACHE}" help cache create 2>&1 | head -n 1; echo "\${PIPESTATUS[0]}"`
  const { stdout } = spawnSync('bash', ['-c', line], { env: environment, encoding: 'utf8' })
  expect(stdout).toBe('Make devices into a cache.\n0\n')
})

test('stats --watch ends when nobody reads any more', async () => {
  const { stdout, code } = await run('bash', ['-c', `"${VMCACHE}" stats --watch --json | head -n 2`], {
    env: cli.environment,
    timeoutMilliseconds: 20_000,
  })
  expect(code).toBe(0)
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([sample.stats, sample.stats])
})

test('names for the completion come one per line, and nothing where no engine runs', async () => {
  expect(await cli.run('__complete', 'cache')).toEqual({ code: 0, stdout: 'fast\n', stderr: '' })
  expect(await cli.run('__complete', 'cache', '--run-dir', join(cli.directory, 'nowhere'))).toEqual({
    code: 0,
    stdout: '',
    stderr: '',
  })
})

test('a read where no engine runs is 6 and says how to start one', async () => {
  const { code, document } = await cli.json('cache', 'list', '--run-dir', join(cli.directory, 'nowhere'))
  expect(code).toBe(6)
  expect(document).toMatchObject({
    error: { code: 'ENGINE_UNAVAILABLE', hint: expect.stringContaining('engine start') },
  })
})

test('a dry run starts no engine', async () => {
  const nowhere = join(cli.directory, 'nowhere')
  const { code } = await cli.json('disk', 'flush', 'a', '--dry-run', '--run-dir', nowhere)
  expect(code).toBe(6)
})

test('doctor finds that no engine runs', async () => {
  const { code, document } = await cli.json('doctor', '--run-dir', join(cli.directory, 'nowhere'))
  expect(code).toBe(1)
  expect(document).toMatchObject({ checks: [{ id: 'engine', state: 'failure', mend: 'vmcache engine start' }] })
})

test('config show without an engine shows what one would start with', async () => {
  const { code, document } = await cli.json('config', 'show', '--run-dir', join(cli.directory, 'nowhere'))
  expect(code).toBe(0)
  expect(document['values']).toContainEqual({
    key: 'run-dir',
    value: join(cli.directory, 'nowhere'),
    source: 'flag --run-dir',
  })
})

test('config check names file, line and rule', async () => {
  const file = join(cli.directory, 'config.yaml')
  writeFileSync(file, 'host-name: kvm07\nio-threads: many\n')
  expect(await cli.json('config', 'check', file)).toMatchObject({
    code: 2,
    document: { error: { code: 'BAD_CONFIG', message: expect.stringMatching(/line 2: io-threads is "many"/) } },
  })
  writeFileSync(file, 'host-name: kvm07\n')
  expect(await cli.json('config', 'check', 'config.yaml')).toMatchObject({
    code: 0,
    document: { file, values: [{ key: 'host-name', value: 'kvm07', source: `file ${file} line 1` }] },
  })
})

testUnless(whyNotRoot, 'who may not use the control socket gets 11 and the group to join', async () => {
  const directory = join(cli.directory, 'closed')
  mkdirSync(directory, { mode: 0o700 })
  chownSync(directory, 65_534, 65_534)
  // Root without capabilities may read this checkout wherever it lies, and not what is closed and somebody else's.
  const command = [process.execPath, VMCACHE, 'cache', 'list', '--json', '--run-dir', directory]
  const child = spawnSync('setpriv', ['--bounding-set=-all', '--inh-caps=-all', ...command], {
    env: { ...process.env, ...cli.environment },
    encoding: 'utf8',
  })
  expect(child.status).toBe(11)
  expect(JSON.parse(child.stdout)).toMatchObject({
    error: { code: 'DENIED', hint: expect.stringContaining('vmcache') },
  })
})
