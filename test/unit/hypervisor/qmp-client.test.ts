import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { SeededRandom } from '../../../src/base/random.js'
import { connectQmp, type QmpClient } from '../../../src/hypervisor/qemu/qmp-client.js'
import type { QmpEvent } from '../../../src/protocol/qmp/message.js'

const GREETING = '{"QMP": {"version": {}, "capabilities": ["oob"]}}\n'

let directory: string
let path: string
let server: Server
let clients: QmpClient[]
const sockets: Socket[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-qmp-'))
  path = join(directory, 'monitor')
  clients = []
})
afterEach(async () => {
  for (const client of clients) client.close()
  for (const socket of sockets.splice(0)) socket.destroy()
  if (server?.listening) await new Promise((resolve) => server.close(resolve))
  rmSync(directory, { recursive: true, force: true })
})

/** A monitor that greets with `greeting` and answers each line as `answer` says; null: not at all. */
async function monitor(answer: (line: Record<string, unknown>, socket: Socket) => string | null, greeting = GREETING) {
  server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(greeting)
    socket.on('data', (bytes) => {
      for (const line of bytes.toString().split('\n').filter(Boolean)) {
        const text = answer(JSON.parse(line) as Record<string, unknown>, socket)
        if (text !== null) socket.write(text)
      }
    })
  })
  server.listen(path)
  await once(server, 'listening')
}

const good = ({ id }: Record<string, unknown>) => `{"return": {}, "id": ${id as number}}\n`

async function connect(options: Partial<Parameters<typeof connectQmp>[0]> = {}): Promise<QmpClient> {
  const client = await connectQmp({ path, clock: systemClock, timeoutMilliseconds: 300, ...options })
  clients.push(client)
  return client
}

test('answers find their commands whatever their order, and events come in between', async () => {
  const held: string[] = []
  const events: QmpEvent[] = []
  await monitor((line) => {
    if (line['execute'] === 'qmp_capabilities') return good(line)
    held.push(`{"return": "${line['execute'] as string}", "id": ${line['id'] as number}}\n`)
    return held.length < 3 ? '{"event": "RESUME"}\n' : held.reverse().join('')
  })
  const client = await connect({ onEvent: (event) => events.push(event) })
  const answers = await Promise.all(['one', 'two', 'three'].map((name) => client.execute(name)))
  expect(answers).toEqual(['one', 'two', 'three'])
  expect(events.map(({ name }) => name)).toEqual(['RESUME', 'RESUME'])
})

test("an error has QEMU's words", async () => {
  await monitor((line) =>
    line['execute'] === 'cont'
      ? `{"error": {"class": "GenericError", "desc": "Resetting the VM is required"}, "id": ${line['id'] as number}}\n`
      : good(line),
  )
  await expect((await connect()).execute('cont')).rejects.toMatchObject({
    code: 'HYPERVISOR',
    message: expect.stringContaining('Resetting the VM is required'),
  })
})

test('out of band, every command but the first says so', async () => {
  const seen: string[][] = []
  await monitor((line) => {
    seen.push(Object.keys(line))
    return good(line)
  })
  await (await connect({ outOfBand: true })).execute('yank', { instances: [] })
  expect(seen).toEqual([
    ['execute', 'arguments', 'id'],
    ['exec-oob', 'arguments', 'id'],
  ])
})

test('out of band is refused where the monitor cannot', async () => {
  await monitor(good, '{"QMP": {"capabilities": []}}\n')
  await expect(connect({ outOfBand: true })).rejects.toMatchObject({ code: 'HYPERVISOR' })
})

test('no socket, a socket that nobody listens on, and a file in its place are errors of the hypervisor', async () => {
  await expect(connect()).rejects.toMatchObject({ code: 'HYPERVISOR', message: expect.stringContaining(path) })
})

test('a monitor that hangs is not waited for: no greeting, no answer', async () => {
  await monitor(() => null, '')
  await expect(connect()).rejects.toMatchObject({ code: 'HYPERVISOR', details: { timeout: true } })
  await new Promise((resolve) => server.close(resolve))

  await monitor((line) => (line['execute'] === 'qmp_capabilities' ? good(line) : null))
  const client = await connect()
  await expect(client.execute('stop')).rejects.toMatchObject({ code: 'HYPERVISOR', details: { timeout: true } })
  await expect(client.execute('stop', {}, { timeoutMilliseconds: 10 })).rejects.toMatchObject({ code: 'HYPERVISOR' })
})

test('a monitor that vanishes ends every command, and the next ones at once', async () => {
  await monitor((line, socket) => {
    if (line['execute'] === 'qmp_capabilities') return good(line)
    socket.destroy()
    return null
  })
  const client = await connect()
  const answers = await Promise.allSettled([client.execute('a'), client.execute('b')])
  for (const answer of answers) expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'HYPERVISOR' } })
  await client.closed
  await expect(client.execute('c')).rejects.toMatchObject({ code: 'HYPERVISOR' })
})

test('garbage instead of messages ends the connection with an error, never the process', async () => {
  const random = new SeededRandom(Number(process.env['FUZZ_SEED'] ?? 4))
  for (let run = 0; run < 20; run++) {
    const garbage = Buffer.from(Array.from({ length: 1 + random.below(200) }, () => random.below(256)))
    await monitor(() => null, Buffer.concat([garbage, Buffer.from('\n')]).toString('latin1'))
    await expect(connect({ timeoutMilliseconds: 50 })).rejects.toMatchObject({ code: 'HYPERVISOR' })
    for (const socket of sockets.splice(0)) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
    rmSync(path, { force: true })
  }
})
