/**
 * The server over real sockets: noise in every phase of a connection harms nobody else, and random requests, many at a
 * time, over connections that come and go, leave disk and client with what a model says.
 */
import { afterEach, expect, test } from 'vitest'
import { SeededRandom } from '../../src/base/random.js'
import { openNbdOrigin } from '../../src/engine/origin/nbd-origin.js'
import { Command, Option } from '../../src/protocol/nbd/constants.js'
import { encodeInfoRequest } from '../../src/protocol/nbd/export-information.js'
import { encodeOption } from '../../src/protocol/nbd/option.js'
import { MemoryDisk } from '../support/memory-disk.js'
import { NbdServing, requestBytes, type RawNbdClient } from '../support/nbd-serving.js'
import { until } from '../support/processes.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/nbd-server.test.ts`
const random = new SeededRandom(seed)
const SECTOR = 512

const serving = new NbdServing()
afterEach(() => serving.closeAll())

const garbage = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random.below(256)))

/** What a client sends before it goes wrong, by phase. */
const BEGINNINGS: readonly ((client: RawNbdClient) => Promise<void>)[] = [
  async () => {},
  async (client) => client.send(Buffer.from([0, 0, 0, 3])),
  async (client) => client.send(Buffer.from([0, 0, 0, 3]), encodeOption(Option.list)),
  async (client) => client.send(Buffer.from([0, 0, 0, 3]), encodeOption(Option.go).subarray(0, 1 + random.below(15))),
  async (client) =>
    client.send(Buffer.from([0, 0, 0, 3]), encodeOption(Option.go, encodeInfoRequest({ name: 'x', types: [] }))),
  async (client) => void (await client.negotiate()),
  async (client) => {
    await client.negotiate()
    client.request({ command: Command.write, length: 65536 }, Buffer.alloc(random.below(65536)))
  },
  async (client) => {
    await client.negotiate()
    client.send(requestBytes({ command: Command.read, length: 4096 }).subarray(0, random.below(28)))
  },
]

test('noise in any phase ends at most its own connection', async () => {
  const disk = new MemoryDisk().fill()
  const { socket, server } = await serving.serve(disk)
  const honest = await serving.connect(socket)
  await honest.negotiate()
  for (let run = 0; run < 200; run++) {
    const client = await serving.connect(socket)
    await BEGINNINGS[random.below(BEGINNINGS.length)]!(client)
    client.send(garbage(random.below(2000)))
    if (random.below(2) === 0) client.socket.end()
    else client.destroy()
    const offset = random.below(2048) * SECTOR
    honest.request({ command: Command.read, cookie: run + 1, offset, length: SECTOR })
    const chunk = await honest.chunk()
    expect(chunk.cookie, repeat).toBe(run + 1)
    expect(chunk.payload.length, repeat).toBe(8 + SECTOR)
  }
  await until('the others to be gone', () => server.connections === 1)
})

test('random header fields are answered or refused, one by one', async () => {
  const disk = new MemoryDisk().fill()
  const { socket } = await serving.serve(disk)
  const client = await serving.connect(socket)
  await client.negotiate()
  for (let run = 0; run < 2000; run++) {
    // Never a write or a disconnect: their payload, or the end, would follow.
    const command = [0, 3, 4, 5, 6, 7, 8, 200, 65535][random.below(9)]!
    const length = random.below(4) === 0 ? random.below(2 ** 32) : random.below(8) * SECTOR
    const offset = random.below(4) === 0 ? random.below(2 ** 53) : random.below(2048) * SECTOR
    const flags = random.below(3) === 0 ? random.below(65536) : 0
    client.request({ command, flags, cookie: run + 1, offset, length })
    const magic = await client.take(16)
    const description = `${repeat}: ${JSON.stringify({ command, flags, offset, length })}`
    expect(magic.readUInt32BE(12), description).toBe(run + 1)
    if (magic.readUInt32BE(0) === 0x668e33ef) await client.take((await client.take(4)).readUInt32BE(0))
  }
})

test('random requests, many at a time, agree with a model over lost connections', async () => {
  const disk = new MemoryDisk({ sizeBytes: 2 * 1024 * 1024 }).fill()
  const model = Buffer.from(disk.bytes)
  disk.hook = () => {
    const kind = random.below(4)
    if (kind === 0) return
    return new Promise((resolve) => (kind === 1 ? setImmediate(resolve) : setTimeout(resolve, random.below(3))))
  }
  const served = await serving.serve(disk, { limits: { requestsInFlight: 16, bytesInFlight: 1024 * 1024 } })
  const { socket, uri } = served
  let { server } = served
  const origin = await openNbdOrigin(uri, { readOnly: false })

  for (let round = 0; round < 60; round++) {
    disk.hits = random.below(2) === 0
    // Ranges of one round do not overlap: what is in flight together may be done in any order.
    const calls: Promise<void>[] = []
    let at = random.below(64) * SECTOR
    while (at < disk.sizeBytes && calls.length < 64) {
      const longest = random.below(8) === 0 ? 600 : 32
      const length = Math.min(disk.sizeBytes - at, (1 + random.below(longest)) * SECTOR)
      const offset = at
      switch (random.below(5)) {
        case 0: {
          const data = garbage(16)
          const bytes = Buffer.alloc(length, data)
          bytes.copy(model, offset)
          calls.push(origin.write(offset, bytes))
          break
        }
        case 1:
          model.fill(0, offset, offset + length)
          calls.push(origin.zero(offset, length, { mayTrim: random.below(2) === 0, fast: false }))
          break
        case 2:
          model.fill(0, offset, offset + length)
          calls.push(origin.trim(offset, length))
          break
        default: {
          const target = Buffer.alloc(length)
          const expected = Buffer.from(model.subarray(offset, offset + length))
          calls.push(
            origin.read(offset, target).then(() => {
              expect(target.equals(expected), `${repeat}: read of ${length} at ${offset}, round ${round}`).toBe(true)
            }),
          )
        }
      }
      at += length + random.below(16) * SECTOR
    }
    if (random.below(10) === 0) {
      await new Promise((resolve) => setTimeout(resolve, random.below(4)))
      await serving.close(server)
      ;({ server } = await serving.serve(disk, { socket }))
    }
    await Promise.all(calls)
    expect(disk.bytes.equals(model), `${repeat}: round ${round}`).toBe(true)
  }
  await origin.close(1000)
})
