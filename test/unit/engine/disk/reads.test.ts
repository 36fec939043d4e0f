/** Reads that meet changes: what one request brings in is never older than what another was told. */
import { expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { DiskOnDevice } from '../../../support/disk-on-device.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'
import { SimulatedOrigin, stampOf, stamped } from '../../../support/simulation/simulated-origin.js'

const CHUNK_BYTES = 128 * 1024
const PAGE = 4096

test('D3: parts of a page that were read before it was trimmed are not kept', async () => {
  const random = new SeededRandom(1)
  const scheduler = new Scheduler(random)
  const device = new SimulatedDevice('device', 16 * CHUNK_BYTES, 512, false, scheduler, random)
  const origin = new SimulatedOrigin(2 ** 24, scheduler, random)
  const run = <T>(work: Promise<T>): Promise<T> => scheduler.run(work)
  const { defer } = scheduler
  const { disk } = await run(DiskOnDevice.open({ origin, device, chunkBytes: CHUNK_BYTES, clock: scheduler, defer }))
  await run(disk.setMode('write-back'))
  await run(disk.write(0, stamped(512, 1), false))
  await run(disk.flushOrigin())

  let goOn = (): void => undefined
  const held = new Promise<void>((resolve) => (goOn = resolve))
  const readDevice = device.read.bind(device)
  device.read = async (...range) => {
    device.read = readDevice
    await held
    return readDevice(...range)
  }
  const first = Buffer.alloc(PAGE)
  const reading = disk.read(0, PAGE, first, 0)
  await run(disk.trim(0, PAGE, false))
  await run(disk.flushOrigin())
  expect(origin.idAt(0)).toBe(0)
  goOn()
  await run(reading)
  expect([0, 1]).toContain(stampOf(first, 0))

  const second = Buffer.alloc(PAGE)
  if (!disk.tryRead(0, PAGE, second, 0)) await run(disk.read(0, PAGE, second, 0))
  expect(stampOf(second, 0)).toBe(0)
})
