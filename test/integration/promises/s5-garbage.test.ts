/**
 * S5: whatever comes in at the sockets of a running engine is an error to its sender at worst. The parsers themselves: test/fuzz; half requests and
 * slow clients of the control socket: control-api.test.ts.
 */
import { once } from 'node:events'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SeededRandom, type Random } from '../../../src/base/random.js'
import { controlSocketPath } from '../../../src/protocol/control/control-client.js'
import { until } from '../../support/processes.js'
import {
  KEPT_DIRTY,
  MIB,
  PAGE,
  findPages,
  makeImage,
  overwrite,
  pageOf,
  pagesOf,
  startHost,
  writePages,
  type Host,
} from './host.js'

const SEED = Number(process.env['VMCACHE_TEST_SEED'] ?? Date.now() % 2 ** 32)
const CONNECTIONS = 2000
const PAGES = 64
const DIRTY_PAGES = 512

/** Beginnings that get a sender further than noise would. */
const NBD_HELLO = Buffer.from('00000003', 'hex')
const NBD_GO = Buffer.concat([
  Buffer.from('IHAVEOPT'),
  Buffer.from('00000007000000060000000000000000', 'hex').subarray(0, 14),
])
const HTTP = [
  'GET /v1/status/show HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST /v1/cache/create HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n',
  'POST /v1/cache/delete HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
]

function noise(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

function nbdGarbage(random: Random): Buffer {
  const parts: Buffer[] = [NBD_HELLO, NBD_GO]
  // Requests with the right magic, of any kind, anywhere, of any length; half of them about the end of the disk.
  for (let request = 0; request < 20; request++) {
    const bytes = noise(random, 28)
    bytes.writeUInt32BE(0x25609513, 0)
    bytes.writeUInt16BE(random.below(12), 6)
    if (random.below(2) === 0) {
      const sectors = (PAGES * PAGE) / 512
      bytes.writeUInt16BE(0, 4)
      bytes.writeBigUInt64BE(BigInt(512 * (sectors - 8 + random.below(16))), 16)
      bytes.writeUInt32BE(512 * (1 + random.below(16)), 24)
    }
    parts.push(bytes)
  }
  parts.push(noise(random, 28))
  const from = random.below(3) === 0 ? 2 : 0
  return random.below(4) === 0 ? noise(random, 4096) : Buffer.concat(parts.slice(from, 2 + random.below(parts.length)))
}

function httpGarbage(random: Random): Buffer {
  const begin = Buffer.from(HTTP[random.below(HTTP.length)]!, 'latin1')
  return Buffer.concat([random.below(3) === 0 ? noise(random, 200) : begin, noise(random, random.below(3000))])
}

/** Sends bytes and leaves, at once or when the other side has. */
async function send(path: string, bytes: Buffer, random: Random): Promise<void> {
  const socket = connect(path)
  socket.on('error', () => {})
  socket.resume()
  const closed = once(socket, 'close').catch(() => {})
  socket.write(bytes)
  if (random.below(2) === 0) socket.end()
  const timer = setTimeout(() => socket.destroy(), 200 + random.below(500))
  await closed
  clearTimeout(timer)
}

const descriptorsOf = (host: Host) => readdirSync(`/proc/${host.enginePid()}/fd`).length

test(
  `S5: garbage on every socket leaves every other client alone, and nothing behind`,
  { timeout: 120_000 },
  async () => {
    const repeat = `VMCACHE_TEST_SEED=${SEED} npx vitest run test/integration/promises/s5-garbage.test.ts`
    const random = new SeededRandom(SEED)
    const host = await startHost()
    await host.createCache()
    const web = await host.attach('web', await makeImage(join(host.directory, 'web.img'), PAGES * PAGE))
    const victim = await makeImage(join(host.directory, 'victim.img'), PAGES * PAGE)
    const { socket } = await host.attach('victim', victim, { mode: 'write-back' })
    const client = await host.connect('web')
    await client.write(0, pagesOf(0, PAGES, 1))
    await client.flush()
    const pid = host.enginePid()
    const before = descriptorsOf(host)

    let attacking = true
    let read = 0
    const guest = (async () => {
      for (let page = 0; attacking; page = (page + 7) % PAGES, read++) {
        expect((await client.read(page * PAGE, PAGE)).equals(pageOf(page, 1)), `page ${page}; ${repeat}`).toBe(true)
        if (read % 16 === 0) await client.write(page * PAGE, pageOf(page, 1), { fua: true })
        await host.client.get('disk.show', { name: 'web' })
      }
    })()
    const targets = [
      { path: socket, make: nbdGarbage },
      { path: web.socket, make: (from: Random) => noise(from, 1 + from.below(200)) },
      { path: controlSocketPath(host.runDir), make: httpGarbage },
      { path: socket, make: httpGarbage },
      { path: controlSocketPath(host.runDir), make: nbdGarbage },
    ]
    let sent = 0
    const attacker = async (): Promise<void> => {
      while (sent < CONNECTIONS) {
        const { path, make } = targets[sent++ % targets.length]!
        await send(path, make(random), random)
      }
    }
    await Promise.all(Array.from({ length: 10 }, attacker))
    attacking = false
    await guest

    expect(read, repeat).toBeGreaterThan(50)
    expect(host.enginePid(), repeat).toBe(pid)
    expect(host.status()?.engine.failures).toBe(0)
    expect(await host.attention(), repeat).toEqual([])
    expect((await host.client.get('cache.list', {})).caches).toHaveLength(1)
    await until('the end of every connection', () => descriptorsOf(host) <= before + 2)
    // The disk that was aimed at serves the next client.
    const next = await host.connect('victim')
    await next.write(0, pageOf(0, 2))
    expect((await next.read(0, PAGE)).equals(pageOf(0, 2))).toBe(true)
    await next.close()
    // What it took of the garbage is within its size.
    await host.flush('victim')
    expect(statSync(victim).size, repeat).toBe(PAGES * PAGE)
    await client.close()
    expect(await host.log()).not.toMatch(/"level":"(error|fatal)"/)
  },
)

/** What is written over a part of a device, from the least to the most. */
const NOISES: [string, (random: Random) => { places: number; bytes: number }][] = [
  ['single bytes', (random) => ({ places: 4, bytes: 1 + random.below(8) })],
  ['sectors', () => ({ places: 16, bytes: 512 })],
  ['half of it', () => ({ places: 1, bytes: MIB / 2 })],
]

test.each(NOISES)(
  'D6 S5: noise in a log with dirty data is an error to whoever wants what it hit, and never an older page (%s)',
  { timeout: 120_000 },
  async (_name, make) => {
    const repeat = `VMCACHE_TEST_SEED=${SEED} npx vitest run test/integration/promises/s5-garbage.test.ts`
    const random = new SeededRandom(SEED)
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), DIRTY_PAGES * PAGE)
    await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
    const client = await host.connect('web')
    await writePages(client, DIRTY_PAGES, 1)
    await host.flush('web')
    await writePages(client, DIRTY_PAGES, 2)
    // What comes behind a flush says that all before it was stable, and is no end that a crash has torn.
    await client.write(0, pageOf(0, 2))
    await client.flush()
    await client.close()
    const pid = host.enginePid()
    await host.end('SIGKILL')
    process.kill(pid, 'SIGKILL')
    const dirty = Array.from({ length: DIRTY_PAGES }, (_, page) => pageOf(page, 2))
    const pagesAt = findPages(host.deviceFile, dirty)
    const { places, bytes } = make(random)
    for (let place = 0; place < places; place++) {
      const at = pagesAt[random.below(pagesAt.length / 2)]!
      overwrite(host.deviceFile, at - PAGE / 2 + random.below(PAGE), noise(random, bytes))
    }

    const next = await startHost({ directory: host.directory })
    const running = next.enginePid()
    const { state } = await until('the disk', async () => {
      const disk = await next.disk('web')
      return disk.state === 'recovering' ? null : disk
    })
    if (state !== 'serving')
      expect(await next.attention(), repeat).toMatchObject([{ object: 'disk web', state, reason: expect.any(String) }])
    // A disk that is not served is one without a socket, or one whose every read is an error.
    const reader = await next.connect('web').catch(() => null)
    let damaged = 0
    for (const [page, expected] of reader === null ? [] : dirty.entries()) {
      const read = await reader!.read(page * PAGE, PAGE).catch((error: { errno?: number }) => error)
      if (!Buffer.isBuffer(read)) damaged++
      if (Buffer.isBuffer(read)) expect(read.equals(expected), `page ${page}; ${repeat}`).toBe(true)
      else expect(read, repeat).toMatchObject({ errno: 5 })
    }
    await reader?.close()
    process.stderr.write(`S5: after noise the disk is ${state}, ${damaged} of ${DIRTY_PAGES} pages are errors\n`)
    expect(next.enginePid(), repeat).toBe(running)
    expect(next.status()?.engine.failures, repeat).toBe(0)
    // Nor is anything else copied to the image.
    expect(await next.end()).toBe(0)
    const bytesNow = readFileSync(image)
    for (const [page, expected] of dirty.entries()) {
      const now = bytesNow.subarray(page * PAGE, (page + 1) * PAGE)
      expect(now.equals(expected) || now.equals(pageOf(page, 1)), `page ${page} of the image; ${repeat}`).toBe(true)
    }
  },
)
