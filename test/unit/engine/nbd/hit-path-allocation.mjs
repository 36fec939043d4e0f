// Prints how many bytes of heap a read that hits costs, with offsets below and above 2 GiB, as JSON. The argument is a
// folder with compiled sources. A process of its own, since a test runner's module wrappers allocate by themselves.
import { join } from 'node:path'

const load = (path) => import(join(process.argv[2], path))
const { BufferPool } = await load('engine/nbd/buffer-pool.js')
const { GatheredOutput } = await load('engine/nbd/gathered-output.js')
const { Transmission } = await load('engine/nbd/transmission.js')
const { encodeRequest, REQUEST_BYTES, RequestHeader } = await load('protocol/nbd/request.js')

const REQUESTS = 16
const TURNS = 3

// A disk that only says that it has copied: what a disk allocates is not the subject.
const disk = {
  name: 'disk',
  sizeBytes: 2 ** 40,
  readOnly: false,
  minimumBlockBytes: 512,
  preferredBlockBytes: 4096,
  canTrim: true,
  canZero: true,
  tryRead: () => true,
}
const swallow = { write: (_, done) => process.nextTick(done), cork() {}, uncork() {} }
const output = new GatheredOutput(swallow, new BufferPool(1024 * 1024), () => {})
const transmission = new Transmission(
  disk,
  { exportName: '', structuredReplies: true, allocationContext: true },
  output,
  new BufferPool(1024 * 1024),
  { requestsInFlight: 256, bytesInFlight: 32 * 1024 * 1024 },
  {},
  () => {},
)

function requestsFrom(base) {
  const bytes = Buffer.alloc(REQUESTS * REQUEST_BYTES)
  for (let index = 0; index < REQUESTS; index++) {
    const fields = { cookieHigh: -index, cookieLow: index * 2 ** 26, offset: base + index * 4096, length: 4096 }
    encodeRequest(bytes, index * REQUEST_BYTES, Object.assign(new RequestHeader(), fields))
  }
  return bytes
}

const nextTurn = async () => {
  output.flush()
  await new Promise(setImmediate)
}

/** Bytes per request, all of them gathered in one buffer: what a turn of the event loop costs is not counted. */
async function measure(requests) {
  const samples = []
  for (let round = 0; round < 50; round++) {
    await nextTurn()
    transmission.receive(requests, 0, REQUEST_BYTES)
    const start = process.memoryUsage().heapUsed
    const before = process.memoryUsage().heapUsed
    for (let turn = 0; turn < TURNS; turn++) transmission.receive(requests, 0, requests.length)
    const after = process.memoryUsage().heapUsed
    // Asking for the usage allocates, too.
    samples.push((after - before - (before - start)) / (REQUESTS * TURNS))
  }
  return samples.sort((a, b) => a - b)[samples.length >> 1]
}

const near = requestsFrom(0)
const far = requestsFrom(2 ** 35)
for (let round = 0; round < 10_000; round++) {
  transmission.receive(round % 2 === 0 ? near : far, 0, near.length)
  await nextTurn()
}
console.log(JSON.stringify({ near: await measure(near), far: await measure(far) }))
