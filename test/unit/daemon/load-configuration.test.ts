import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { loadConfiguration } from '../../../src/daemon/load-configuration.js'
import { CONFIGURATION_KEYS, ORIGIN_FILE_CALLS, threadPoolSize } from '../../../src/model/configuration.js'

let directory: string
let path: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-configuration-'))
  path = join(directory, 'config.yaml')
})
afterAll(() => rm(directory, { recursive: true }))

async function load(
  text: string,
  options: { environment?: Record<string, string>; flags?: Record<string, string> } = {},
) {
  await writeFile(path, text)
  return loadConfiguration({
    flags: { config: path, ...options.flags },
    user: false,
    environment: options.environment ?? {},
  })
}

const message = (loading: Promise<unknown>): Promise<string> =>
  loading.then(
    () => 'no error',
    (error: unknown) => (error instanceof VmcacheError ? `${error.code}: ${error.message}` : String(error)),
  )

describe('sources', () => {
  test('without anything said the defaults hold', async () => {
    const { values, sources, file } = await load('')
    expect(values).toMatchObject({
      'host-name': hostname(),
      'state-dir': '/var/lib/vmcache',
      'run-dir': '/run/vmcache',
      'state-url': 'sqlite:/var/lib/vmcache/state.db',
      'disk-group': null,
      'stop-timeout': 60,
    })
    expect(new Set(Object.values(sources))).toEqual(new Set(['default']))
    expect(file).toBe(path)
  })

  test('flag beats environment beats file, and each value says where it is from', async () => {
    const text = '# ours\nstate-dir: /file\nrun-dir: /file\nlog-level: debug\nio-threads: 3\n'
    const { values, sources } = await load(text, {
      environment: { VMCACHE_STATE_DIR: '/environment', VMCACHE_RUN_DIR: '/environment' },
      flags: { 'run-dir': '/flag' },
    })
    expect(values).toMatchObject({
      'state-dir': '/environment',
      'run-dir': '/flag',
      'log-level': 'debug',
      'io-threads': 3,
    })
    expect(sources).toMatchObject({
      'run-dir': 'flag --run-dir',
      'state-dir': 'environment VMCACHE_STATE_DIR',
      'log-level': `file ${path} line 4`,
      'host-name': 'default',
    })
    expect(values['state-url']).toBe('sqlite:/environment/state.db')
  })

  test('directories of a private engine are those of its user', async () => {
    const loadUser = (environment: Record<string, string>) => loadConfiguration({ flags: {}, user: true, environment })
    const given = await loadUser({ XDG_STATE_HOME: '/s', XDG_RUNTIME_DIR: '/r', XDG_CONFIG_HOME: directory })
    expect(given.values).toMatchObject({ 'state-dir': '/s/vmcache', 'run-dir': '/r/vmcache' })
    const bare = await loadUser({ XDG_CONFIG_HOME: '/nonexistent' })
    const state = `${homedir()}/.local/state/vmcache`
    expect(bare.values).toMatchObject({ 'state-dir': state, 'run-dir': `${state}/run` })
    expect(bare.file).toBeNull()
  })

  test('relative directories of flags and environment are taken from where one is', async () => {
    const { values } = await load('', { flags: { 'state-dir': 'here' }, environment: { VMCACHE_RUN_DIR: './there' } })
    expect(values).toMatchObject({ 'state-dir': join(process.cwd(), 'here'), 'run-dir': join(process.cwd(), 'there') })
  })

  test('a file that is named must be there', async () => {
    const gone = loadConfiguration({ flags: { config: '/nonexistent/config.yaml' }, user: false, environment: {} })
    expect(await message(gone)).toMatch(
      /^BAD_CONFIG: configuration file \/nonexistent\/config.yaml cannot be read: ENOENT/,
    )
  })
})

test.each([
  ['io-threads: many', 'line 1: io-threads is "many": expected a whole number from 1 to 64'],
  ['io-threads: 0', 'line 1: io-threads is 0: expected a whole number from 1 to 64'],
  ['io-threads: 1.5', 'line 1: io-threads is 1.5: expected'],
  ['\n\nstate-dir: here', 'line 3: state-dir is "here": expected an absolute path'],
  ['state-url: mysql://db', 'line 1: state-url is "mysql://db": expected sqlite:'],
  ['state-url: postgres://vm:secret@db/x', 'line 1: state-url is "postgres://vm:...@db/x": expected sqlite:'],
  ['stop-timeout: 60', 'line 1: stop-timeout is 60: expected a duration such as 60s'],
  ['log-level: loud', 'line 1: log-level is "loud": expected debug, info, warn, error'],
  ['host-name: [a, b]', 'line 1: host-name is a list or a map: expected'],
  ['host-name: "a b"', 'line 1: host-name is "a b": expected'],
  ['a: 1\n', 'line 1: unknown key "a"'],
  ['io-threads: 1\nio-treads: 2\n', 'line 2: unknown key "io-treads"'],
  ['io-threads: 1\nio-threads: 2\n', 'line 2: not YAML: Map keys must be unique'],
  ['just text', 'line 1: expected lines of the form "key: value"'],
  ['- a\n- b', 'line 1: expected lines of the form "key: value"'],
  ['a: "b', 'line 1: not YAML:'],
  [
    'control-group: vm\ndisk-group: vm',
    'line 2: disk-group is "vm": expected the name of a group other than control-group',
  ],
  ['max-disks: 121', 'line 1: max-disks is 121: expected a whole number from 1 to 120'],
])('%j is refused with place and expectation', async (text, expected) => {
  expect(await message(load(text))).toContain(`BAD_CONFIG: file ${path} ${expected}`)
})

test.each([
  'postgres://db/x',
  'postgresql://vm@db:5432/x',
  'postgres://vm@/x?host=/run/postgresql',
  'sqlite:/a b/c.db',
])('%s is a state database', async (url) => {
  expect((await load(`state-url: ${url}`)).values['state-url']).toBe(url)
})

test('a wrong flag or variable is named as such', async () => {
  const { flags, user } = { flags: {}, user: false }
  const environment = { VMCACHE_LOG_LEVEL: 'loud' }
  expect(await message(loadConfiguration({ flags, user, environment }))).toBe(
    'BAD_CONFIG: environment VMCACHE_LOG_LEVEL: log-level is "loud": expected debug, info, warn, error',
  )
})

test('the thread pool has room for every call that origins may have in flight, and more', async () => {
  expect(threadPoolSize((await load('max-disks: 2')).values)).toBeGreaterThan(2 * ORIGIN_FILE_CALLS)
  expect(threadPoolSize((await load('max-disks: 120')).values)).toBeLessThanOrEqual(1024)
})

test('every key says what it means', () => {
  for (const { summary, expected } of Object.values(CONFIGURATION_KEYS)) {
    expect(summary).toMatch(/\.$/)
    expect(expected).not.toBe('')
  }
})
