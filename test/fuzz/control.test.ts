/**
 * The control socket against noise: random bytes, and requests of the real API with bytes, keys and values changed. Whatever is
 * sent, the server lives, answers the next request, and never calls an operation with a request that is not of its form.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.js'
import { SeededRandom } from '../../src/base/random.js'
import { openControlServer, type ControlServer } from '../../src/daemon/control-server.js'
import { controlClient } from '../../src/protocol/control/control-client.js'
import { methodOf, pathOf, READS, type Operation } from '../../src/protocol/control/routes.js'
import { parsePost, parseQuery } from '../../src/protocol/control/schemas.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/control.test.ts`
const random = new SeededRandom(seed)
const ROUNDS = 1500

const BODIES: Partial<Record<Operation, object>> = {
  'cache.create': {
    name: 'fast',
    devices: [{ path: '/dev/x', sizeBytes: 1024 }],
    blockSizeBytes: 4096,
    chunkSizeBytes: 16777216,
    force: false,
    dryRun: true,
  },
  'cache.delete': { name: 'fast', discardDirty: false, dryRun: false },
  'cache.import': { devices: ['/dev/x', '/dev/y'], missing: false, dryRun: false },
  'cache.scrub': { name: 'fast', bytesPerSecond: 1000, dryRun: false },
  'device.add': { cache: 'fast', device: { path: '/dev/x', sizeBytes: null }, force: false, dryRun: false },
  'device.remove': { cache: 'fast', device: '/dev/x', dryRun: false },
  'cache.attach': {
    cache: 'fast',
    origin: '/images/web.img',
    name: null,
    mode: 'write-through',
    replacement: 'lru',
    minBytes: 0,
    maxBytes: null,
    shares: 100,
    readOnly: false,
    exclusive: false,
    dryRun: false,
  },
  'cache.detach': { names: ['a'], all: false, exclude: ['b'], discardDirty: false, force: false, dryRun: false },
  'disk.flush': { names: ['a'], all: true, exclude: [], dryRun: false },
  'disk.set': { name: 'a', maxBytes: null, dryRun: false },
  'host.set': { name: 'h', unset: ['mode', 'timeZone'], shares: 5, idleTimeoutSeconds: null, dryRun: false },
  'job.cancel': { id: 'x' },
  'engine.stop': { detach: false, force: false },
}
const CHANGES = Object.keys(BODIES) as Operation[]
const QUERIES = ['', '?name=a', '?names=a&names=b&window=1h', '?id=1&waitMilliseconds=5', '?sinceAt=x', '?%ff&&==']
const ODD: unknown[] = [null, -1, 1e308, '', '\0', 'x'.repeat(9000), [], {}, [[[]]], true, '\u202e\u001b[2J', 0.1]

let directory: string
let path: string
let server: ControlServer
let called = 0

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-fuzz-'))
  path = join(directory, 'control.sock')
  server = await openControlServer(
    path,
    { mode: 0o600, gid: null },
    {
      async read(operation, request) {
        called++
        // Well-formed requests are those that are read again as what they are.
        const text = new URLSearchParams()
        for (const [key, value] of Object.entries(request)) {
          for (const one of [value].flat()) if (one !== null) text.append(key, String(one))
        }
        expect(parseQuery(operation, text)).toEqual(request)
        return {}
      },
      async change(operation, request) {
        called++
        expect(parsePost(operation, JSON.stringify(request), new URLSearchParams()).request).toEqual(request)
        return { job: null as never, result: null }
      },
      metrics: async () => '',
    },
    { ...silentLogger, error: (fields) => failures.push(fields) },
  )
})
afterAll(async () => {
  await server.close(0)
  await rm(directory, { recursive: true })
})

const failures: unknown[] = []
const pick = <Item>(items: readonly Item[]): Item => items[random.below(items.length)]!
const noise = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random.below(256)))

/** A value with one part of it replaced by something else. */
function distorted(value: unknown): unknown {
  if (random.below(4) === 0 || value === null || typeof value !== 'object') return pick(ODD)
  if (Array.isArray(value)) return value.map((item, index) => (index === 0 ? distorted(item) : item))
  const entries = Object.entries(value)
  const at = random.below(entries.length + 1)
  if (at === entries.length) return { ...value, [pick(['__proto__', 'constructor', 'nmae', ''])]: pick(ODD) }
  entries[at] = [entries[at]![0], distorted(entries[at]![1])]
  return Object.fromEntries(entries)
}

function message(): Buffer {
  if (random.below(8) === 0) return noise(random.below(3000))
  const operation = random.below(2) === 0 ? pick(READS) : pick(CHANGES)
  const body = methodOf(operation) === 'GET' ? null : BODIES[operation]!
  const text = body === null ? '' : JSON.stringify(random.below(3) === 0 ? body : distorted(body))
  const length = random.below(10) === 0 ? random.below(100_000) : Buffer.byteLength(text)
  const head = `${methodOf(operation)} ${pathOf(operation)}${random.below(2) === 0 ? '' : pick(QUERIES)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n`
  const bytes = Buffer.from(`${head}content-length: ${length}\r\n\r\n${text}`)
  for (let flips = Math.max(0, random.below(5) - 2); flips > 0; flips--)
    bytes[random.below(bytes.length)] = random.below(256)
  return random.below(6) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes
}

/** Sends bytes, ends its side, and reads what comes until the server closes. */
async function exchange(bytes: Buffer): Promise<string> {
  const socket = connect(path)
  socket.on('error', () => undefined)
  const parts: Buffer[] = []
  socket.on('data', (part: Buffer) => parts.push(part))
  const closed = once(socket, 'close')
  socket.end(bytes)
  await closed
  return Buffer.concat(parts).toString('latin1')
}

test('noise is answered with an error or not at all', { timeout: 120_000 }, async () => {
  const client = controlClient(path)
  try {
    for (let round = 0; round < ROUNDS; round += 10) {
      const answers = await Promise.all(Array.from({ length: 10 }, () => exchange(message())))
      for (const answer of answers) expect(answer).toMatch(/^($|HTTP\/1\.1 (100|200|400|404|405|413|417|431|501) )/)
      expect(failures).toEqual([])
    }
    expect(await client.get('cache.list', {})).toEqual({})
    expect(called).toBeGreaterThan(ROUNDS / 20)
  } catch (error) {
    throw new Error(`${String(error)}\n${repeat}`, { cause: error })
  } finally {
    client.close()
  }
})
