import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { systemClock, type Clock } from '../../../src/base/clock.js'
import { makeFifo } from '../../../src/base/system-calls.js'
import { freeReaders, loadThroughFifo, type FifoSource } from '../../../src/hypervisor/libvirt/load-through-fifo.js'
import { manualClock } from '../../support/manual-clock.js'

const MIB = 2 ** 20

let directory: string
let server: Server
let source: FifoSource
let send: (socket: Socket) => void

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-fifo-'))
  source = { fifo: join(directory, 'restore'), start: Buffer.from('start '), socket: join(directory, 'memory') }
  server = createServer((socket) => send(socket.on('error', () => {}))).listen(source.socket)
  await once(server, 'listening')
})
afterEach(() => {
  server.close()
  rmSync(directory, { recursive: true, force: true })
})

const load = (
  reader: (fifo: string, abort: AbortSignal) => Promise<unknown>,
  signal = new AbortController().signal,
  clock: Clock = systemClock,
) => loadThroughFifo(source, reader, { clock, signal, progress: () => {} })

test('a reader gets the start and then all of the stream, as fast as it reads', async () => {
  const memory = Buffer.alloc(5 * MIB, 'memory')
  send = (socket) => socket.end(memory)
  let read = Buffer.alloc(0)
  await load(async (fifo) => {
    // Like libvirt from version 11.2 on it opens the file twice: what it has not read is there still.
    const first = await open(fifo)
    expect((await first.read(Buffer.alloc(3), 0, 3)).bytesRead).toBe(3)
    await first.close()
    const wanted = source.start.length - 3 + memory.length
    const parts: Buffer[] = []
    let bytes = 0
    for await (const part of createReadStream(fifo)) {
      parts.push(part as Buffer)
      bytes += (part as Buffer).length
      if (bytes === wanted) break
    }
    read = Buffer.concat(parts)
  })
  expect(read.equals(Buffer.concat([source.start.subarray(3), memory]))).toBe(true)
  expect(existsSync(source.fifo)).toBe(false)
})

/** A process that reads the FIFO to its end; it is killed where the test fails. */
function readerOf(fifo: string): { readonly process: ChildProcess; readonly output: Promise<string> } {
  const reader = spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void reader.kill('SIGKILL'))
  return { process: reader, output: text(reader.stdout) }
}

test('a reader sees the end where it is given up', async () => {
  const abort = new AbortController()
  send = (socket) => void socket.write('half', () => abort.abort())
  let read = ''
  const loading = load(async (fifo) => {
    read = await readerOf(fifo).output
    throw new Error('cut')
  }, abort.signal)
  await expect(loading).rejects.toMatchObject({ code: 'INTERRUPTED' })
  expect('start half'.startsWith(read)).toBe(true)
  expect(existsSync(source.fifo)).toBe(false)
})

test('a reader sees the end where nothing comes any more, and one that does not end then is ended', async () => {
  const clock = manualClock()
  send = () => {}
  let isAborted = false
  const loading = load(
    async (fifo, signal) => {
      readerOf(fifo)
      await once(signal, 'abort')
      isAborted = true
      throw new Error('killed')
    },
    undefined,
    clock,
  )
  loading.catch(() => {})
  await expect.poll(() => clock.nextDelay).not.toBeNull()
  for (let second = 0; second < 59; second++) await clock.advance(1000)
  expect(existsSync(source.fifo)).toBe(true)
  for (let second = 0; second < 3; second++) await clock.advance(1000)
  await expect.poll(() => existsSync(source.fifo)).toBe(false)
  expect(isAborted).toBe(false)
  await clock.advance(30_000)
  await expect(loading).rejects.toMatchObject({ code: 'HYPERVISOR', message: expect.stringContaining('stands still') })
  expect(isAborted).toBe(true)
})

test('whoever waits at a FIFO that an engine has left is let go', async () => {
  mkdirSync(join(directory, 'vms', 'a'), { recursive: true })
  mkdirSync(join(directory, 'vms', 'b'))
  const [left, other] = [join(directory, 'vms', 'a', 'restore'), join(directory, 'vms', 'b', 'restore')]
  makeFifo(left, 0o600)
  writeFileSync(other, 'no FIFO')
  const { process: reader, output } = readerOf(left)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(reader.exitCode).toBeNull()
  await freeReaders(join(directory, 'vms'), 'restore')
  expect(await output).toBe('')
  expect(existsSync(left)).toBe(false)
  expect(existsSync(other)).toBe(true)
  await freeReaders(join(directory, 'nothing'), 'restore')
})
