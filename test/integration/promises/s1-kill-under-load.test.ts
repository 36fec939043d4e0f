/**
 * S1: a kill of the engine is a pause. A guest that sees it: foreign-clients.test.ts; acknowledged writes: kill.test.ts. Here: QEMU's own NBD client
 * sees no error over many kills, and how long the pause is, with a cache of which a good part is filled.
 */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Mode } from '../../../src/model/mode.js'
import { describeWith } from '../../support/packages.js'
import { run, until } from '../../support/processes.js'
import { connectSimpleNbd } from '../../support/simple-nbd-client.js'
import { KEPT_DIRTY, MIB, PAGE, makeImage, pageOf, pagesOf, startHost, type Host } from './host.js'

const KILLS = 3
/** The promise, for a machine on which a bare Node.js starts in 120 ms; one that is slower or busy may take longer by as much. */
const SERVED_MILLISECONDS = 2000
const NODE_STARTS_MILLISECONDS = 120
/** The best of some kills counts. */
const TRIES = 6

/** Kills the engine while pages are read; milliseconds until the first of them is read again. */
async function killAndRead(host: Host, socket: string, page: number): Promise<number> {
  const killed = process.kill(host.enginePid(), 'SIGKILL') && performance.now()
  const client = await connectSimpleNbd(socket)
  const bytes = await client.read(page * PAGE, PAGE)
  const served = performance.now() - Number(killed)
  expect(bytes.equals(pageOf(page, 1))).toBe(true)
  await client.close()
  return served
}

/** How many times slower this machine is at present than one that keeps the promise; 1 where it is not. */
async function slowness(): Promise<number> {
  const begun = performance.now()
  await run(process.execPath, ['-e', '0'])
  return Math.max(1, (performance.now() - begun) / NODE_STARTS_MILLISECONDS)
}

describeWith(['qemu-img'], "S1: QEMU's NBD client", () => {
  test(`sees ${KILLS} kills under load as pauses, and reads back all that it wrote`, { timeout: 180_000 }, async () => {
    const host = await startHost()
    await host.createCache()
    const { socket } = await host.attach('web', await makeImage(join(host.directory, 'web.img'), 64 * MIB))
    const writes = 4000
    const commands = (name: string) =>
      Array.from({ length: writes }, (_, index) => [
        '-c',
        `${name} -q -P ${(index % 255) + 1} ${index * 16}k 8k`,
      ]).flat()
    const options = ['--image-opts', `driver=nbd,server.type=unix,server.path=${socket},reconnect-delay=60`]
    const started = performance.now()
    const load = run('qemu-io', [...options, ...commands('write')], { timeoutMilliseconds: 150_000 })
    let ended = false
    void load.then(() => (ended = true))
    let kills = 0
    for (; kills < KILLS && !ended; kills++) {
      await new Promise((resolve) => setTimeout(resolve, 500))
      await host.killEngine()
    }
    expect(await load).toMatchObject({ code: 0, stderr: '' })
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    process.stderr.write(`S1: ${writes} writes over ${kills} kills took ${seconds} s\n`)
    expect(kills).toBeGreaterThan(0)
    expect(await run('qemu-io', [...options, ...commands('read')])).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('S1: an engine that is killed', () => {
  test.each<[Mode, string]>([
    ['write-through', 'clean'],
    ['write-back', 'dirty'],
  ])(
    `serves again within ${SERVED_MILLISECONDS / 1000} s, and is warm (%s, %s)`,
    { timeout: 240_000 },
    async (mode) => {
      const host = await startHost()
      await host.createCache({ path: host.deviceFile, sizeBytes: 1024 * MIB })
      // Less than what the low limit comes to for this device: nothing goes to the origin by itself.
      const dirtyBytes = 320 * MIB
      const pages = dirtyBytes / PAGE
      const image = await makeImage(join(host.directory, 'web.img'), 512 * MIB)
      const writeBack = { ...KEPT_DIRTY, dirtyLowBytes: 600 * MIB, dirtyHighBytes: 800 * MIB }
      const { socket } = await host.attach('web', image, { mode, writeBack })
      const fill = async (): Promise<void> => {
        const client = await host.connect('web')
        // From the end, in pieces of half of what goes past the cache as a stream.
        for (let first = pages - 128; first >= 0; first -= 128) await client.write(first * PAGE, pagesOf(first, 128, 1))
        await client.flush()
        await client.close()
        await new Promise((resolve) => setTimeout(resolve, 300))
      }

      const times: number[] = []
      while (times.length < TRIES && Math.min(Infinity, ...times) > SERVED_MILLISECONDS) {
        // What an engine has recovered it writes to the origin at once.
        await fill()
        if (mode === 'write-back') expect((await host.disk('web')).dirtyBytes).toBeGreaterThanOrEqual(dirtyBytes)
        const slow = await slowness()
        const served = await killAndRead(host, socket, times.length * 7)
        process.stderr.write(
          `S1: ${(served / 1000).toFixed(2)} s from a kill to the next answer; the machine is ${slow.toFixed(1)} times slow\n`,
        )
        times.push(served / slow)
        await host.nextEngine(0)
      }
      expect(Math.min(...times)).toBeLessThan(SERVED_MILLISECONDS)

      // The index is read beside the traffic; what is not known yet comes from the origin.
      const loading = performance.now()
      await until('all of the index', async () => (await host.disk('web')).state === 'serving')
      process.stderr.write(`S1: the index was whole ${((performance.now() - loading) / 1000).toFixed(2)} s later\n`)
      const reader = await connectSimpleNbd(socket)
      const before = (await host.stats('web')).readHits
      const reads = 1000
      for (let index = 0; index < reads; index++) {
        const page = (index * 7919) % pages
        expect((await reader.read(page * PAGE, PAGE)).equals(pageOf(page, 1)), `page ${page}`).toBe(true)
      }
      expect((await host.stats('web')).readHits - before).toBe(reads)
      await reader.close()
    },
  )
})
