/**
 * S1 and D11 with an engine that cannot start: its code aborts as soon as it opens the device of the cache. Disks without dirty data are served
 * all the same, those that lack writes wait and stay locked, and an engine that works again goes on with everything. From dist/.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { stampPath } from '../../src/operations/stamp.js'
import { describeWith } from '../support/packages.js'
import { run, until } from '../support/processes.js'
import { makeImage, MIB, PAGE, pageOf, startHost, type Host } from './promises/host.js'

/** Loaded into every process that is started from here on: an engine that opens a cache file aborts while `flag` is there. */
const SABOTAGE = (flag: string) => `
const fs = require('node:fs')
const abort = (path) => {
  if (String(path).endsWith('ssd.img') && fs.existsSync(${JSON.stringify(flag)})) process.kill(process.pid, 'SIGABRT')
}
for (const [object, name] of [[fs, 'open'], [fs, 'openSync'], [fs.promises, 'open']]) {
  const original = object[name]
  object[name] = function (path, ...rest) {
    abort(path)
    return original.call(this, path, ...rest)
  }
}
require('node:module').syncBuiltinESMExports()
`

async function sabotagedHost(): Promise<{ host: Host; flag: string }> {
  const first = await startHost()
  const flag = join(first.directory, 'broken')
  await writeFile(join(first.directory, 'sabotage.cjs'), SABOTAGE(flag))
  await first.end()
  const before = process.env['NODE_OPTIONS']
  process.env['NODE_OPTIONS'] = `${before ?? ''} --require ${join(first.directory, 'sabotage.cjs')}`
  onTestFinished(() => {
    if (before === undefined) delete process.env['NODE_OPTIONS']
    else process.env['NODE_OPTIONS'] = before
  })
  const host = await startHost({ directory: first.directory })
  await host.createCache()
  return { host, flag }
}

/** Makes the stamp of a disk that was written back, as if its engine had died with dirty data. */
async function lackWrites(image: string): Promise<void> {
  const text = await readFile(stampPath(image), 'utf8')
  await writeFile(stampPath(image), text.replace('lacks-writes: no', 'lacks-writes: yes'))
}

async function define(host: Host, name: string, image: string): Promise<void> {
  const hardware = { memoryBytes: 64 * MIB, cpus: 1, accelerator: 'tcg' as const, qemuArguments: [] }
  const boot = { kernel: null, initrd: null, append: null }
  await host.client.post('vm.define', {
    name,
    ...hardware,
    ...boot,
    disks: [{ path: image, format: 'raw' }],
    dryRun: false,
  })
}

async function startVm(host: Host, name: string) {
  const request = { names: [name], all: false, exclude: [], dryRun: false }
  return (await host.client.post('vm.start', request, { waitMilliseconds: 60_000 })).result!.results[0]
}

const WRITE = ['-f', 'raw', '-c', 'write 0 4k']

describeWith(['qemu-img'], 'an engine that cannot open its caches', () => {
  test(
    'leaves clean disks to one without caches, and the others locked until one works again',
    { timeout: 120_000 },
    async () => {
      const { host, flag } = await sabotagedHost()
      const clean = await makeImage(join(host.directory, 'clean.img'), MIB)
      const dirty = await makeImage(join(host.directory, 'dirty.img'), MIB)
      await host.attach('clean', clean)
      await host.attach('dirty', dirty)
      const before = await host.disk('clean')
      const client = await host.connect('dirty')
      await client.write(0, pageOf(0, 1))
      await client.flush()
      await client.close()
      await lackWrites(dirty)

      await writeFile(flag, '')
      const pid = host.enginePid()
      process.kill(pid, 'SIGKILL')
      await host.nextEngine(pid)
      expect(await host.disk('clean')).toMatchObject({
        state: 'direct',
        reason: expect.stringContaining(
          '5 engines in a row ended while they opened the caches: it was ended by SIGABRT',
        ),
        // What it writes now its log never sees.
        lease: { epoch: before.lease.epoch + 1 },
      })
      const direct = await host.connect('clean')
      await direct.write(PAGE, pageOf(1, 2))
      await direct.flush()
      await direct.close()
      expect(await host.disk('dirty')).toMatchObject({
        state: 'waiting',
        reason: expect.stringContaining('waits for what its origin lacks'),
        lacksWrites: true,
      })
      await expect(host.connect('dirty')).rejects.toThrow()
      expect((await host.attention()).map(({ object, state }) => `${object} ${state}`)).toEqual(
        expect.arrayContaining([expect.stringMatching(/^engine of .* direct$/), 'disk dirty waiting']),
      )
      // D11: a VM on it is refused by name, not by QEMU's word about a lock.
      await define(host, 'web', dirty)
      expect(await startVm(host, 'web')).toMatchObject({
        error: {
          ...{ code: 'DIRTY_DATA', exit: 7, details: { disk: 'dirty', path: dirty } },
          message: expect.stringContaining(`${dirty} may lack writes`),
          hint: expect.stringMatching(
            /vmcache disk show dirty;.*vmcache cache detach dirty;.*vmcache cache recover fast/,
          ),
        },
      })
      const { checks } = await host.client.get('doctor.run', {})
      expect(checks.filter(({ state }) => state === 'failure').map(({ object }) => object)).toEqual(
        expect.arrayContaining(['disk dirty', 'cache fast']),
      )

      await rm(flag)
      const without = host.enginePid()
      await host.client.post('engine.restart', {})
      await host.nextEngine(without)
      expect(await host.disk('clean')).toMatchObject({ state: 'serving' })
      const reader = await host.connect('clean')
      expect((await reader.read(PAGE, PAGE)).equals(pageOf(1, 2))).toBe(true)
      await reader.close()
      expect(await host.disk('dirty')).toMatchObject({ state: 'serving', lacksWrites: true })
    },
  )

  test(
    'is none at all: after a reboot the images that lack writes are locked before there is an engine',
    { timeout: 120_000 },
    async () => {
      const { host, flag } = await sabotagedHost()
      const image = await makeImage(join(host.directory, 'web.img'), MIB)
      await host.attach('web', image)
      expect((await run('qemu-io', [...WRITE, image])).code).toBe(0)
      await lackWrites(image)
      await host.killEngine()
      expect((await run('qemu-io', [...WRITE, image])).stderr).toContain('Failed to get "write" lock')

      // Power cut: locks are gone, and the list that the supervisor left is there.
      const pid = host.enginePid()
      await host.end('SIGKILL')
      await until('the end of the engine', async () => (await run('kill', ['-0', String(pid)])).code !== 0)
      expect((await run('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 4k', image])).code).toBe(0)
      await writeFile(flag, '')
      const next = await startHost({ directory: host.directory, wait: false })
      await until('the lock', async () => (await run('qemu-io', [...WRITE, image])).code !== 0)
      expect((await run('qemu-io', [...WRITE, image])).stderr).toContain('Failed to get "write" lock')
      expect(next.status()?.engine.state).not.toBe('running')
    },
  )
})
