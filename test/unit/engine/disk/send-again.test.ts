/** A flush after the origin was reconnected: what it was sent before is sent again, and nothing is undone by that. */
import { beforeEach, describe, expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { DEFAULT_WRITE_BACK } from '../../../../src/model/write-back.js'
import { Disk, type DiskMeter } from '../../../../src/engine/disk/disk.js'
import { withoutWritten } from '../../../../src/engine/disk/unflushed.js'
import { LogReader } from '../../../../src/engine/log/log-reader.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedOrigin, stamped } from '../../../support/simulation/simulated-origin.js'

const PAGE = 4096
const ignore = (): void => undefined

let scheduler: Scheduler
let origin: SimulatedOrigin
let disk: Disk

beforeEach(() => {
  const random = new SeededRandom(1)
  scheduler = new Scheduler(random)
  origin = new SimulatedOrigin(2 ** 30, scheduler, random)
  const meter: DiskMeter = {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
    read: ignore,
    write: ignore,
    flush: ignore,
    originRead: ignore,
    originWrite: ignore,
    barrier: ignore,
    originBarriers: ignore,
    admitted: ignore,
  }
  disk = new Disk({
    name: 'disk',
    origin,
    readOnly: false,
    mode: 'pass-through',
    blockPages: 1,
    phase: 0,
    sequentialLimitBytes: 2 ** 20,
    maximumLogBytes: () => 1024 * 1024,
    writeBack: () => DEFAULT_WRITE_BACK,
    reader: new LogReader(),
    meter,
    clock: scheduler,
    log: undefined,
    newLog: () => Promise.reject(new Error('no log')),
    raiseEpoch: () => Promise.resolve(),
    onState: ignore,
  })
})

async function run(work: Promise<void>): Promise<void> {
  let ended = false
  work.then(
    () => (ended = true),
    () => (ended = true),
  )
  while (!ended) await scheduler.step()
  await work
}

const zero = (offset: number, length: number): Promise<void> =>
  run(disk.zero(offset, length, { mayTrim: true, fast: false, fua: false }))
const write = (page: number, id: number): Promise<void> => run(disk.write(page * PAGE, stamped(PAGE, id), false))
const idOf = (page: number): number => origin.idAt(page * 8)

describe('D1: a zero that is sent again spares what was written since', () => {
  test('where that cannot be sent again itself, the flush fails, once, and the origin keeps what it has', async () => {
    await write(1, 5)
    await write(9, 6)
    await run(disk.flush())
    await zero(0, 16 * PAGE)
    await write(2, 7)
    // The connection is new; the server behind it has lost nothing.
    origin.session++
    await expect(run(disk.flush())).rejects.toThrow('no longer cached')
    expect([idOf(1), idOf(2), idOf(9)]).toEqual([0, 7, 0])
    await run(disk.flush())
  })

  test('also where it was written while the flush was on its way', async () => {
    await zero(0, 16 * PAGE)
    origin.session++
    const flushed = disk.flush()
    const written = disk.write(2 * PAGE, stamped(PAGE, 7), false)
    await run(Promise.all([flushed, written]).then(ignore))
    expect(idOf(2)).toBe(7)
  })

  test('what the server lost is zero again', async () => {
    await write(1, 5)
    await run(disk.flush())
    await zero(0, 16 * PAGE)
    origin.reconnect()
    await run(disk.flush())
    expect(idOf(1)).toBe(0)
  })
})

test('D3: a read after the reconnect does not find what the server went back to', async () => {
  do {
    await write(1, 5)
    await run(disk.flush())
    await zero(PAGE, PAGE)
    origin.reconnect()
  } while (idOf(1) !== 5)
  // The server went back to before the zeroes.
  const target = Buffer.alloc(PAGE, 1)
  await run(disk.read(PAGE, PAGE, target, 0))
  expect(target.equals(Buffer.alloc(PAGE))).toBe(true)
})

test('a range without what was written', () => {
  const write = (offset: number, length: number) => ({ kind: 'write' as const, offset, length })
  expect(withoutWritten(10, 10, [])).toEqual([{ offset: 10, length: 10 }])
  expect(withoutWritten(10, 10, [write(0, 10), write(20, 5)])).toEqual([{ offset: 10, length: 10 }])
  expect(withoutWritten(10, 10, [write(12, 3), write(19, 9)])).toEqual([
    { offset: 10, length: 2 },
    { offset: 15, length: 4 },
  ])
  expect(withoutWritten(10, 10, [write(0, 100)])).toEqual([])
  expect(withoutWritten(10, 10, [{ kind: 'trim', offset: 10, length: 10 }])).toEqual([{ offset: 10, length: 10 }])
})
