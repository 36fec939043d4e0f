/** What a disk does when the device of its log fails under a request. */
import { expect, test } from 'vitest'
import { openSimulatedDisk } from '../../../support/simulation/simulated-disk.js'
import { stamped } from '../../../support/simulation/simulated-origin.js'

test('D7: a write whose page cannot be read from a failing device reaches the origin only after the epoch was raised', async () => {
  let raise = (): void => undefined
  const raised = new Promise<void>((resolve) => (raise = resolve))
  const { scheduler, device, origin, disk, run } = await openSimulatedDisk(1, {
    isBuffered: false,
    raiseEpoch: () => raised,
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
  const { device, origin, disk, run } = await openSimulatedDisk(1, { isBuffered: false })
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

  await expect(run(disk.setMode('pass-through'))).rejects.toThrow('1 pages were lost')

  device.failed = new Error('the device is gone')
  const read = (page: number): Promise<void> => disk.read(page * 4096, 4096, Buffer.alloc(4096), 0)
  await expect(run(read(1))).rejects.toThrow('1 pages were lost there before the origin had them')
  expect(disk.state).toBe('failed')
  await expect(run(read(0))).rejects.toThrow('lost')
})
