/**
 * D5: nothing that a guest was told is done goes away by a command. In the modes that write through there are no dirty pages: what a
 * command could lose is what the origin has not flushed (d1-acknowledged-writes.test.ts), and a disk that is in use. In write-back it is
 * what is dirty.
 */
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeWith } from '../../support/packages.js'
import { run, until } from '../../support/processes.js'
import type { SimpleNbdClient } from '../../support/simple-nbd-client.js'
import {
  KEPT_DIRTY,
  PAGE,
  makeImage,
  pageOf,
  pagesOf,
  startHost,
  startNbdkit,
  testProcesses,
  writePages,
  type Host,
} from './host.js'

const PAGES = 64
const VMCACHE = join(import.meta.dirname, '..', '..', '..', 'bin', 'vmcache')

/** Runs a command as a user; its exit code and the code of its error. */
async function vmcache(host: Host, ...args: string[]): Promise<{ exit: number | null; code: string | null }> {
  const env = { VMCACHE_USER: '1', VMCACHE_STATE_DIR: host.stateDir, VMCACHE_RUN_DIR: host.runDir }
  const { code, stdout } = await run(VMCACHE, [...args, '--json'], { env })
  const document = JSON.parse(stdout) as { error?: { code: string } }
  return { exit: code, code: document.error?.code ?? null }
}

test('D5: no wrong flag and no half command costs a disk or its cache', { timeout: 120_000 }, async () => {
  const host = await startHost()
  await host.createCache()
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE))
  const client = await host.connect('web')
  await writePages(client, PAGES, 1)

  expect(await vmcache(host, 'cache', 'delete', 'fast', '--yes')).toEqual({ exit: 4, code: 'IN_USE' })
  expect(await vmcache(host, 'cache', 'delete', 'fast', '--yes', '--discard-dirty')).toEqual({
    exit: 4,
    code: 'IN_USE',
  })
  expect(await vmcache(host, 'cache', 'delete', 'fast', '--force')).toMatchObject({ exit: 2 })
  expect(await vmcache(host, 'cache', 'detach', '--discard-dirty')).toMatchObject({ exit: 2 })
  expect(await vmcache(host, 'cache', 'detach', 'web', '--discard')).toMatchObject({ exit: 2 })
  const create = ['cache', 'create', 'other', '--device', host.deviceFile, '--chunk-size', '1m']
  expect(await vmcache(host, ...create, '--force')).toEqual({ exit: 4, code: 'IN_USE' })
  expect(await vmcache(host, 'engine', 'stop')).toEqual({ exit: 7, code: 'REFUSED' })

  expect((await client.read(9 * PAGE, PAGE)).equals(pageOf(9, 1))).toBe(true)
  const before = await host.stats('web')
  expect(before.originReads).toBe(0)
  await client.close()
})

test('D5: a device of a cache that is not open is not overwritten either', async () => {
  const host = await startHost()
  await host.createCache()
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE))
  expect(await host.end()).toBe(0)
  const before = execFileSync('md5sum', [host.deviceFile]).toString()
  const other = await startHost()
  const create = ['cache', 'create', 'other', '--device', host.deviceFile, '--chunk-size', '1m']
  expect(await vmcache(other, ...create)).toEqual({ exit: 7, code: 'DEVICE_NOT_EMPTY' })
  expect(execFileSync('md5sum', [host.deviceFile]).toString()).toBe(before)
})

describeWith(['nbdkit'], 'D5: a detach', () => {
  test('ends only when the origin has flushed what was written', async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
    const log = join(host.directory, 'origin.log')
    const socket = join(host.directory, 'export.sock')
    const { uri } = await startNbdkit(testProcesses(), socket, '--filter=log', 'file', image, `logfile=${log}`)
    await host.attach('web', uri)
    const client = await host.connect('web')
    await client.write(0, pageOf(0, 1))
    await host.detach('web')
    const calls = (await readFile(log, 'utf8'))
      .split('\n')
      .flatMap((line) => /\.\.\.(Write|Flush) /.exec(line)?.[1] ?? [])
    expect(calls).toContain('Write')
    expect(calls.at(-1)).toBe('Flush')
    await client.closed
  })
})

describeWith(['nbdkit'], 'D5: dirty data', () => {
  test('survives every command but the one that says that it is to be lost', { timeout: 300_000 }, async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
    const socket = join(host.directory, 'export.sock')
    const processes = testProcesses()
    const { uri, process: server } = await startNbdkit(processes, socket, 'file', image)
    await host.attach('web', uri, { mode: 'write-back', writeBack: KEPT_DIRTY, exclusive: true })
    const client = await host.connect('web')
    await writePages(client, PAGES, 1)
    await processes.stop(server)
    const dirty = async () => (await host.disk('web')).dirtyBytes
    const before = await dirty()
    expect(before).toBeGreaterThanOrEqual(PAGES * PAGE)

    // What must write it first waits for the origin, and can be cancelled: nothing has changed then.
    for (const command of [
      ['cache', 'detach', 'web'],
      ['cache', 'detach', 'web', '--force'],
      ['policy', 'set', '--disk', 'web', '--mode', 'write-through'],
      ['policy', 'set', '--disk', 'web', '--mode', 'pass-through'],
      ['disk', 'flush', 'web'],
    ]) {
      expect(await vmcache(host, ...command, '--timeout', '1s'), command.join(' ')).toMatchObject({ exit: 12 })
      const { jobs } = await host.client.get('job.list', {})
      const running = jobs.filter(({ state }) => state === 'running')
      expect(running, command.join(' ')).toHaveLength(1)
      await host.client.post('job.cancel', { id: running[0]!.id })
      await until('the end of the job', async () =>
        (await host.client.get('job.list', {})).jobs.every(({ state }) => state !== 'running'),
      )
      expect(await dirty(), command.join(' ')).toBeGreaterThanOrEqual(before)
      expect(await host.disk('web')).toMatchObject({ state: 'serving', mode: { inForce: 'write-back' } })
    }
    expect(await vmcache(host, 'cache', 'delete', 'fast', '--yes')).toMatchObject({ exit: 4 })
    await writeAndRead(client, 2)

    // A stop leaves it in the cache; another engine does not make a cache of the device.
    await client.close()
    expect(await host.end()).toBe(0)
    const other = await startHost()
    const create = ['cache', 'create', 'other', '--device', host.deviceFile, '--chunk-size', '1m', '--yes']
    expect(await vmcache(other, ...create)).toMatchObject({ exit: 7 })
    expect(await vmcache(other, ...create, '--force')).toMatchObject({ exit: 7 })

    await startNbdkit(processes, socket, 'file', image)
    const next = await startHost({ directory: host.directory })
    await until('the disk', async () => (await next.disk('web')).state === 'serving')
    const reader = await next.connect('web')
    for (let page = 0; page < PAGES; page++)
      expect((await reader.read(page * PAGE, PAGE)).equals(pageOf(page, page < 8 ? 2 : 1)), `page ${page}`).toBe(true)
    await reader.close()
    await next.detach('web')
    const origin = await readFile(image)
    expect(origin.subarray(8 * PAGE, 9 * PAGE).equals(pageOf(8, 1))).toBe(true)
    expect(origin.subarray(0, PAGE).equals(pageOf(0, 2))).toBe(true)
  })

  test('is lost by --discard-dirty, which works without the origin', { timeout: 120_000 }, async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
    const processes = testProcesses()
    const { uri, process: server } = await startNbdkit(processes, join(host.directory, 'export.sock'), 'file', image)
    await host.attach('web', uri, { mode: 'write-back', writeBack: KEPT_DIRTY, exclusive: true })
    const client = await host.connect('web')
    await writePages(client, PAGES, 1)
    await client.close()
    await processes.stop(server)
    expect(await vmcache(host, 'cache', 'detach', 'web', '--discard-dirty', '--yes')).toEqual({ exit: 0, code: null })
    expect((await host.client.get('disk.list', {})).disks).toEqual([])
  })
})

/** Writes eight pages of a version and reads them back. */
async function writeAndRead(client: SimpleNbdClient, version: number): Promise<void> {
  await client.write(0, pagesOf(0, 8, version))
  await client.flush()
  expect(await client.read(0, 8 * PAGE)).toEqual(pagesOf(0, 8, version))
}
