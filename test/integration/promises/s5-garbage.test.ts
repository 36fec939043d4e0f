/**
 * S5: whatever comes in at the sockets of a running engine is an error to its sender at worst. The parsers themselves: test/fuzz; half requests and
 * slow clients of the control socket: control-api.test.ts.
 */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SeededRandom, type Random } from '../../../src/base/random.js'
import { controlSocketPath } from '../../../src/protocol/control/control-client.js'
import { until } from '../../support/processes.js'
import { PAGE, makeImage, pageOf, pagesOf, startHost, type Host } from './host.js'

const SEED = Number(process.env['VMCACHE_TEST_SEED'] ?? Date.now() % 2 ** 32)
const CONNECTIONS = 2000
const PAGES = 64

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
  const parts = [NBD_HELLO, NBD_GO, noise(random, 28)]
  // Requests with the right magic, of any kind, anywhere, of any length.
  for (let request = 0; request < 20; request++) {
    const bytes = noise(random, 28)
    bytes.writeUInt32BE(0x25609513, 0)
    bytes.writeUInt16BE(random.below(12), 6)
    parts.push(bytes)
  }
  const from = random.below(3)
  return Buffer.concat(
    random.below(4) === 0 ? [noise(random, 4096)] : parts.slice(from === 2 ? 3 : 0, 2 + random.below(20)),
  )
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
    await client.close()
    expect(await host.log()).not.toMatch(/"level":"(error|fatal)"/)
  },
)
