/**
 * D5: nothing that a guest was told is done goes away by a command. In the modes that write through there are no dirty pages: what a
 * command could lose is what the origin has not flushed (d1-acknowledged-writes.test.ts), and a disk that is in use.
 */
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeWith } from '../../support/packages.js'
import { run } from '../../support/processes.js'
import { PAGE, makeImage, pageOf, startHost, startNbdkit, testProcesses, writePages, type Host } from './host.js'

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
