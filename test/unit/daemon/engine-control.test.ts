import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { createEngineControl } from '../../../src/daemon/engine-control.js'
import type { EngineControl } from '../../../src/daemon/control-service.js'
import type { Jobs } from '../../../src/daemon/jobs.js'
import { loadConfiguration } from '../../../src/daemon/load-configuration.js'
import type { EngineDisk } from '../../../src/engine/engine.js'
import type { OperationContext } from '../../../src/operations/operation.js'
import type { TargetResult } from '../../../src/protocol/control/documents.js'
import { manualClock } from '../../support/manual-clock.js'

const context: OperationContext = { who: 'x', progress: () => undefined, signal: new AbortController().signal }

let said: string[]
let disks: Pick<EngineDisk, 'disk' | 'socket'>[]
let results: TargetResult[]
let reload: () => Promise<never>
let control: EngineControl

beforeEach(async () => {
  said = []
  disks = []
  results = []
  const configuration = await loadConfiguration({ flags: { config: '/dev/null' }, user: false, environment: {} })
  reload = () => Promise.resolve(configuration as never)
  control = createEngineControl({
    engine: { disks: async () => disks as EngineDisk[], metrics: async () => 'engine 1\n' },
    operations: { 'cache.detach': async () => ({ changed: true, results }) },
    jobs: { list: () => [{ state: 'running' }, { state: 'done' }] } as unknown as Jobs,
    configuration,
    reload: () => reload(),
    say: (message) => said.push(message.say),
    version: '1.2.3',
    clock: manualClock(),
  })
})

test('a stop tells the supervisor, unless a client is connected and nobody insists', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-control-'))
  const socket = join(directory, 'web.sock')
  const server = createServer().listen(socket)
  await once(server, 'listening')
  disks = [{ disk: 'web', socket }]
  expect(await control.stop({ detach: false, force: false }, context)).toEqual({ changed: true })
  const client = connect(socket)
  await once(client, 'connect')
  await expect(control.stop({ detach: false, force: false }, context)).rejects.toMatchObject({
    code: 'REFUSED',
    exit: 7,
  })
  expect(said).toEqual(['stop-all'])
  await control.stop({ detach: false, force: true }, context)
  expect(said).toEqual(['stop-all', 'stop-all'])
  client.destroy()
  server.close()
  await rm(directory, { recursive: true })
})

test('a stop with a disk that cannot be detached is refused, and the engine goes on', async () => {
  const error = new VmcacheError('DIRTY_DATA', 'disk web: 1 GB that the origin lacks').toDocument()
  results = [{ name: 'web', ok: false, changed: false, error }]
  await expect(control.stop({ detach: true, force: false }, context)).rejects.toMatchObject({
    code: 'REFUSED',
    message: 'the engine goes on: disk web: 1 GB that the origin lacks',
  })
  expect(said).toEqual([])
})

test('a broken configuration keeps the engine that runs', async () => {
  reload = () => Promise.reject(new VmcacheError('BAD_CONFIG', 'no'))
  await expect(control.restart()).rejects.toMatchObject({ code: 'BAD_CONFIG' })
  expect(said).toEqual([])
})

test('the configuration names every source', () => {
  const { values } = control.configuration()
  expect(values).toContainEqual({ key: 'run-dir', value: '/run/vmcache', source: 'default' })
})

test('metrics are those of the engine and of its process', async () => {
  const text = await control.metrics()
  expect(text).toMatch(/^engine 1\n/)
  expect(text).toContain('vmcache_info{version="1.2.3"} 1\n')
  expect(text).toContain('vmcache_jobs_running 1\n')
  // Every line is a comment or a sample.
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{.*\})? [0-9.e+-]+)$/)
})
