import { beforeEach, describe, expect, test } from 'vitest'
import { BufferPool } from '../../../../src/engine/nbd/buffer-pool.js'
import { GatheredOutput, type ByteSink } from '../../../../src/engine/nbd/gathered-output.js'

/** A socket that takes what it is given when the test says so. */
class SlowSink implements ByteSink {
  writes: string[] = []
  calls: string[] = []
  #done: ((error?: Error | null) => void)[] = []

  write(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    this.writes.push(Buffer.from(bytes).toString('latin1'))
    this.calls.push('write')
    this.#done.push(done)
  }
  cork(): void {
    this.calls.push('cork')
  }
  uncork(): void {
    this.calls.push('uncork')
  }
  finish(error: Error | null = null): void {
    for (const done of this.#done.splice(0)) done(error)
  }
}

let sink: SlowSink
let pool: BufferPool
let written: number
let output: GatheredOutput

beforeEach(() => {
  sink = new SlowSink()
  pool = new BufferPool(64 * 1024 * 1024)
  written = 0
  output = new GatheredOutput(sink, pool, () => written++)
})

function put(text: string): void {
  const at = output.reserve(text.length)
  output.buffer.write(text, at, 'latin1')
  output.commit(text.length)
}

test('what a turn put in is written at once', () => {
  put('one')
  put('two')
  expect(sink.writes).toEqual([])
  output.flush()
  expect(sink.writes).toEqual(['onetwo'])
  expect(output.idle).toBe(false)
  sink.finish()
  expect(output.idle).toBe(true)
  expect(written).toBe(1)
})

test('while a write is under way the next is gathered, and follows it', () => {
  put('one')
  output.flush()
  put('two')
  output.flush()
  put('three')
  expect(sink.writes).toEqual(['one'])
  sink.finish()
  expect(sink.writes).toEqual(['one', 'twothree'])
})

test('room that is not used is not sent', () => {
  put('one')
  output.reserve(100)
  put('two')
  output.flush()
  expect(sink.writes).toEqual(['onetwo'])
  sink.finish()
  output.reserve(100)
  output.flush()
  expect(sink.writes).toHaveLength(1)
})

test('large pieces keep their place among small ones, in one call', () => {
  const buffer = pool.take(5)
  buffer.write('LARGE')
  put('one')
  output.append(buffer.subarray(0, 5), buffer)
  put('two')
  output.flush()
  expect(sink.writes).toEqual(['one', 'LARGE', 'two'])
  expect(sink.calls).toEqual(['cork', 'write', 'write', 'write', 'uncork'])
})

test('a full buffer is written without waiting for the end of the turn', () => {
  const large = 'x'.repeat(200 * 1024)
  put(large)
  put(large)
  expect(sink.writes).toEqual([large])
  output.flush()
  sink.finish()
  expect(sink.writes).toEqual([large, large])
})

test('memory is counted until the socket has taken it, then it goes back to the pool', () => {
  put('x'.repeat(1024 * 1024))
  output.flush()
  expect(output.heldBytes).toBeGreaterThanOrEqual(1024 * 1024)
  expect(pool.keptBytes).toBe(0)
  sink.finish()
  expect(output.heldBytes).toBe(0)
  expect(pool.keptBytes).toBeGreaterThanOrEqual(1024 * 1024)
})

test('after a write that failed nothing is written or held any more', () => {
  put('one')
  output.flush()
  put('two')
  sink.finish(new Error('EPIPE'))
  expect(output.idle).toBe(true)
  put('three')
  const buffer = pool.take(5)
  output.append(buffer, buffer)
  output.flush()
  expect(sink.writes).toEqual(['one'])
  expect(written).toBe(0)
})

describe('on a socket that has room', () => {
  /** What was sent at once, and how many bytes more there is room for. */
  let sent: string
  let room: number

  beforeEach(() => {
    sent = ''
    room = Infinity
    const quick = Object.assign(sink, {
      trySend(bytes: Uint8Array): number {
        const taken = Math.min(room, bytes.length)
        sent += Buffer.from(bytes).toString('latin1', 0, taken)
        room -= taken
        return taken
      },
    })
    output = new GatheredOutput(quick, pool, () => written++)
  })

  test('all is sent at once, and its memory is free at once', () => {
    const buffer = pool.take(5)
    buffer.write('LARGE')
    put('one')
    output.append(buffer.subarray(0, 5), buffer)
    put('two')
    expect(output.flush()).toBe(true)
    expect(sent).toBe('oneLARGEtwo')
    expect(sink.calls).toEqual([])
    expect(output.idle).toBe(true)
    expect(output.heldBytes).toBe(0)
    expect(pool.keptBytes).toBeGreaterThan(256 * 1024)
    expect(written).toBe(0)
    expect(output.flush()).toBe(false)
  })

  test.each([0, 2, 3, 5, 10])('what there is no room for is written: room for %i of 11 bytes', (bytes) => {
    room = bytes
    const buffer = pool.take(5)
    buffer.write('LARGE')
    put('one')
    output.append(buffer.subarray(0, 5), buffer)
    put('two')
    expect(output.flush()).toBe(false)
    expect(sent + sink.writes.join('')).toBe('oneLARGEtwo')
    expect(sent).toHaveLength(bytes)
    expect(pool.keptBytes).toBe(0)
    sink.finish()
    expect(output.idle).toBe(true)
    expect(output.heldBytes).toBe(0)
    expect(written).toBe(1)
  })

  test('nothing is sent past a write that is under way', () => {
    room = 1
    put('one')
    output.flush()
    room = Infinity
    put('two')
    expect(output.flush()).toBe(false)
    expect(sent).toBe('o')
    sink.finish()
    expect(sink.writes).toEqual(['ne'])
    expect(sent).toBe('otwo')
    expect(output.idle).toBe(true)
  })
})
