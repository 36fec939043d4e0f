/** `vmcache cache check`: an offline command over real devices. */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { systemRandom } from '../../src/base/random.js'
import { lockDevice } from '../../src/engine/device/lock-device.js'
import { openDevice } from '../../src/engine/device/open-device.js'
import { formatDevices } from '../../src/engine/pool/pool.js'
import { writeSuperblock } from '../../src/engine/pool/superblocks.js'
import { commandLineTest, type CommandLineTest } from '../support/vmcache.js'

const MIB = 2 ** 20

let cli: CommandLineTest
let path: string

beforeAll(async () => {
  cli = await commandLineTest()
  path = join(cli.directory, 'device')
})
afterAll(() => cli.stop())

/** A new cache that was opened once. */
beforeEach(async () => {
  writeFileSync(path, Buffer.alloc(12 * MIB))
  const device = await openDevice(path)
  const [{ superblock }] = (await formatDevices(
    [device],
    { name: 'fast', blockBytes: 4096, chunkBytes: MIB, hostId: '0'.repeat(32) },
    { random: systemRandom, clock: systemClock },
  )) as [Awaited<ReturnType<typeof formatDevices>>[number]]
  await writeSuperblock(device, { ...superblock, openCount: 1 })
  await device.close()
})

function spoil(at: number): void {
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.alloc(16, 0xa5), 0, 16, at)
  closeSync(file)
}

test('a cache that is well: 0, and what was looked at; no engine is asked', async () => {
  const { code, document, stderr } = await cli.json('cache', 'check', path)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(document).toMatchObject({
    cache: 'fast',
    devices: [{ path, sizeBytes: 12 * MIB, chunks: 11 }],
    chunks: { total: 11, free: 11, log: 0, checkpoint: 0, left: 0, damaged: 0 },
    logs: [],
    findings: [],
    repaired: 0,
  })
  expect(cli.fake.requests).toEqual([])
  const people = await cli.run('cache', 'check', 'device')
  expect(people).toMatchObject({ code: 0, stderr: '' })
  expect(people.stdout).toMatch(/^cache fast: 1 device, 11 chunks \(0 in use, 11 free\)\n0 pages read, 0 findings\n$/)
})

test('findings: 1, document and error; nothing is written without --repair', async () => {
  spoil(100)
  spoil(3 * MIB)
  const before = readFileSync(path)
  for (const flags of [[], ['--repair', '--dry-run']]) {
    const { code, document } = await cli.json('cache', 'check', path, ...flags)
    expect(code).toBe(1)
    expect(document).toMatchObject({
      chunks: { damaged: 1 },
      findings: [
        { device: path, chunk: null, kind: 'superblock', effect: 'harmless', repaired: false },
        { device: path, chunk: 2, kind: 'chunk-header', effect: 'loses clean pages', repaired: false },
      ],
      repaired: 0,
      error: { code: 'CORRUPT', exit: 1, details: { findings: 2 } },
    })
  }
  expect(readFileSync(path).equals(before)).toBe(true)
  const people = await cli.run('cache', 'check', path)
  expect(people.code).toBe(1)
  expect(people.stdout).toContain('chunk-header')
  expect(people.stderr).toMatch(/^error: cache fast: 2 findings, 1 of them cost clean pages\nhint: /)
})

test('--repair mends what costs nothing, and ends with 0 when nothing is left', async () => {
  spoil(100)
  expect(await cli.json('cache', 'check', path, '--repair')).toMatchObject({
    code: 0,
    document: { findings: [{ kind: 'superblock', repaired: true }], repaired: 1 },
  })
  expect(await cli.json('cache', 'check', path)).toMatchObject({ code: 0, document: { findings: [] } })
})

test('a device that an engine has is refused: 4', async () => {
  const lock = await lockDevice(path)
  const { code, document } = await cli.json('cache', 'check', path)
  await lock.release()
  expect({ code, document }).toMatchObject({ code: 4, document: { error: { code: 'IN_USE' } } })
})

test('what is no cache device: 7; what is not there: 3; none named: 2', async () => {
  writeFileSync(join(cli.directory, 'blank'), Buffer.alloc(2 * MIB))
  expect((await cli.json('cache', 'check', 'blank')).document).toMatchObject({
    error: { code: 'DEVICE_FOREIGN', exit: 7 },
  })
  expect((await cli.json('cache', 'check', 'nothing')).document).toMatchObject({
    error: { code: 'DEVICE_NOT_FOUND', exit: 3 },
  })
  expect((await cli.json('cache', 'check')).document).toMatchObject({
    error: { code: 'USAGE', exit: 2, message: 'cache check: missing DEVICE' },
  })
})
