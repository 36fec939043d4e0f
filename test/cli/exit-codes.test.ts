/** Every exit code of the contract can be reached, and every error with --json is one document. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ERROR_CODES, EXIT, VmcacheError, type ErrorCode } from '../../src/base/errors.js'
import type { TargetResult } from '../../src/protocol/control/documents.js'
import { checks, engine, fast } from '../support/sample-documents.js'
import { commandLineTest, type CommandLineTest } from '../support/vmcache.js'

let cli: CommandLineTest
beforeAll(async () => void (cli = await commandLineTest()))
afterAll(() => cli.stop())
beforeEach(() => void (cli.fake.answers = { 'engine.status': engine }))

const refusals: ErrorCode[] = [
  'FAILED',
  'CACHE_NOT_FOUND',
  'CACHE_EXISTS',
  'NO_SPACE',
  'ENGINE_UNAVAILABLE',
  'DEVICE_NOT_EMPTY',
  'HYPERVISOR',
  'ORIGIN_FAILED',
  'DENIED',
  'TIMEOUT',
]

test.each(refusals)('what the engine refuses with %s ends with its code', async (code) => {
  cli.fake.answers['cache.show'] = new VmcacheError(code, 'no', { hint: 'do that', details: { seen: 1 } })
  const { code: exit, document } = await cli.json('cache', 'show', 'fast')
  expect(exit).toBe(EXIT[ERROR_CODES[code]])
  expect(document).toEqual({ error: { code, exit, message: 'no', hint: 'do that', details: { seen: 1 } } })
})

test('people get the same words on standard error, and nothing on standard output', async () => {
  cli.fake.answers['cache.show'] = new VmcacheError('CACHE_NOT_FOUND', 'there is no cache fats', { hint: 'fast?' })
  expect(await cli.run('cache', 'show', 'fats')).toEqual({
    code: 3,
    stdout: '',
    stderr: 'error: there is no cache fats\nhint: fast?\n',
  })
})

test('0: all is well', async () => {
  cli.fake.answers['cache.show'] = fast
  expect(await cli.json('cache', 'show', 'fast')).toEqual({ code: 0, document: fast, stderr: '' })
})

test('1: doctor found a failure, and says which', async () => {
  cli.fake.answers['doctor.run'] = { checks }
  const { code, document } = await cli.json('doctor')
  expect(code).toBe(1)
  expect(document).toMatchObject({ checks, error: { code: 'DOCTOR_FAILED', exit: 1, details: { failed: ['device'] } } })
})

const result = (name: string, error: VmcacheError | null): TargetResult => ({
  name,
  ok: error === null,
  changed: error === null,
  error: error?.toDocument() ?? null,
})

test('8: some of several targets failed', async () => {
  const results = [result('a', null), result('b', new VmcacheError('ORIGIN_FAILED', 'EIO'))]
  cli.fake.answers['disk.flush'] = { changed: true, results }
  const { code, document } = await cli.json('disk', 'flush', 'a', 'b')
  expect(code).toBe(8)
  expect(document).toMatchObject({ changed: true, results, error: { code: 'PARTIAL', details: { failed: ['b'] } } })
  const people = await cli.run('disk', 'flush', 'a', 'b')
  expect(people).toEqual({ code: 8, stdout: '', stderr: 'error: 1 of 2 failed\nb: error: EIO\n' })
})

test('the code of the targets where all of them failed alike', async () => {
  const refused = new VmcacheError('ORIGIN_FAILED', 'EIO')
  cli.fake.answers['disk.flush'] = { changed: false, results: [result('a', refused), result('b', refused)] }
  expect(await cli.json('disk', 'flush', '--all')).toMatchObject({ code: 10, document: { error: { exit: 10 } } })
})

test('12: the waiting ended, the job goes on', async () => {
  cli.fake.answers['disk.flush'] = { polls: Infinity, ends: { changed: true, results: [] } }
  const { code, document } = await cli.json('disk', 'flush', 'a', '--timeout', '1s')
  expect(code).toBe(12)
  expect(document).toMatchObject({ error: { code: 'TIMEOUT', details: { job: expect.any(String) } } })
  expect(cli.fake.cancelled).toEqual([])
})

test('130: Ctrl-C cancels the job', async () => {
  cli.fake.answers['disk.flush'] = { polls: Infinity, ends: { changed: true, results: [] } }
  cli.fake.requests.length = 0
  const child = cli.start('disk', 'flush', 'a', '--json')
  let stdout = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  await expect
    .poll(() => cli.fake.requests.some(({ operation }) => operation === 'job.show'), { timeout: 10_000 })
    .toBe(true)
  child.kill('SIGINT')
  expect(await ended).toBe(130)
  const { error } = JSON.parse(stdout) as { error: { code: string; details: { job: string } } }
  expect(error.code).toBe('INTERRUPTED')
  expect(cli.fake.cancelled).toEqual([error.details.job])
})

test('an answer that is no document is a failure, not a crash', async () => {
  cli.fake.answers['cache.show'] = () => {
    throw new Error('broken')
  }
  expect(await cli.json('cache', 'show', 'fast')).toMatchObject({ code: 1, document: { error: { code: 'INTERNAL' } } })
})
