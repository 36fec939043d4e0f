/** What a disk does when the device of its log fails under a request. */
import { expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { DEFAULT_WRITE_BACK } from '../../../../src/model/write-back.js'
import { Disk, type DiskMeter } from '../../../../src/engine/disk/disk.js'
import type { Chunk, ChunkSource } from '../../../../src/engine/log/chunk-source.js'
import { LogReader } from '../../../../src/engine/log/log-reader.js'
import { openLog } from '../../../../src/engine/log/open-log.js'
import { planRecovery } from '../../../../src/engine/log/recovery.js'
import { s3Fifo } from '../../../../src/engine/replacement/s3-fifo.js'
import { DiskOnDevice } from '../../../support/disk-on-device.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'
import { SimulatedOrigin, stamped } from '../../../support/simulation/simulated-origin.js'

const CHUNK_BYTES = 128 * 1024
const ID = 'ab'.repeat(16)
const ignore = (): void => undefined

test('D7: a write whose page cannot be read from a failing device reaches the origin only after the epoch was raised', async () => {
  const random = new SeededRandom(1)
  const scheduler = new Scheduler(random)
  const device = new SimulatedDevice('device', 8 * CHUNK_BYTES, 512, false, scheduler, random)
  const origin = new SimulatedOrigin(2 ** 24, scheduler, random)
  const free: Chunk[] = Array.from({ length: 8 }, (_, index) => ({
    device,
    deviceIndex: 0,
    index,
    offset: index * CHUNK_BYTES,
    generation: 0,
  }))
  const source: ChunkSource = {
    cacheId: ID,
    chunkBytes: CHUNK_BYTES,
    exhausted: false,
    take: () => free.shift(),
    give: (chunk) => void free.push(chunk),
    whenChanged: ignore,
  }
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
  const run = async (work: Promise<unknown>): Promise<void> => {
    let ended = false
    const end = (): void => void (ended = true)
    work.then(end, end)
    while (!ended) await scheduler.step()
    await work
  }
  let raise: () => void = ignore
  const raised = new Promise<void>((resolve) => (raise = resolve))
  const opening = planRecovery([], { chunkBytes: CHUNK_BYTES, bootId: ID }).then((plan) =>
    openLog(
      plan,
      {
        identity: { logId: ID, diskName: 'disk', origin: '/origin', diskBytes: 2 ** 24, phase: 0 },
        epoch: 1,
        bootId: ID,
        source,
        clock: scheduler,
        counters: meter,
        defer: scheduler.defer,
        onFailed: ignore,
      },
      { replacement: s3Fifo.laid(64), maximumChunks: 8, keepPages: false },
    ),
  )
  await run(opening)
  const disk = new Disk({
    name: 'disk',
    origin,
    readOnly: false,
    mode: 'write-through',
    blockPages: 1,
    phase: 0,
    sequentialLimitBytes: 2 ** 20,
    maximumLogBytes: () => 1024 * 1024,
    writeBack: () => DEFAULT_WRITE_BACK,
    reader: new LogReader(),
    meter,
    clock: scheduler,
    log: await opening,
    newLog: () => Promise.reject(new Error('no log')),
    raiseEpoch: () => raised,
    onState: ignore,
  })
  await run(disk.write(0, stamped(4096, 1), false))

  device.failed = new Error('the device is gone')
  // Part of a cached page: the rest of it has to be read from the device.
  const written = disk.write(0, stamped(512, 2), false)
  for (let step = 0; step < 200; step++) await scheduler.step()
  expect(origin.idAt(0)).toBe(1)
  raise()
  await run(written)
  expect(origin.idAt(0)).toBe(2)
  expect(disk.state).toBe('direct')
})

test('D6 D7: a disk that has lost pages does not go on from its origin when its device fails, though nothing is dirty', async () => {
  const random = new SeededRandom(1)
  const scheduler = new Scheduler(random)
  const device = new SimulatedDevice('device', 16 * CHUNK_BYTES, 512, false, scheduler, random)
  const origin = new SimulatedOrigin(2 ** 24, scheduler, random)
  const run = <T>(work: Promise<T>): Promise<T> => scheduler.run(work)
  const { defer } = scheduler
  const { disk } = await run(DiskOnDevice.open({ origin, device, chunkBytes: CHUNK_BYTES, clock: scheduler, defer }))
  await run(disk.setMode('write-back'))
  await run(disk.write(0, stamped(4096, 1), false))
  await run(disk.write(4096, stamped(4096, 2), false))
  await run(disk.flush())
  const log = disk.log!
  const location = log.table.find(0)
  const { chunk, columns } = log.slots[Math.floor(location / log.entriesPerChunk)]!
  device.flip(chunk.offset + columns.unit[location % log.entriesPerChunk]! * 512)
  await run(disk.flushOrigin())
  expect(disk.dirty).toMatchObject({ dirtyBytes: 0, lostPages: 1 })
  expect(origin.idAt(8)).toBe(2)

  // A part of it is refused, in every mode, and holds up nobody.
  for (const mode of ['write-through', 'write-around', 'write-back'] as const) {
    await run(disk.setMode(mode))
    expect(disk.tryWrite(512, stamped(512, 3), () => expect.unreachable())).toBe(false)
    await expect(run(disk.write(512, stamped(512, 3), false))).rejects.toThrow('write all of it')
  }

  device.failed = new Error('the device is gone')
  const read = (page: number): Promise<void> => disk.read(page * 4096, 4096, Buffer.alloc(4096), 0)
  await expect(run(read(1))).rejects.toThrow('1 pages were lost there before the origin had them')
  expect(disk.state).toBe('failed')
  await expect(run(read(0))).rejects.toThrow('lost')
})
