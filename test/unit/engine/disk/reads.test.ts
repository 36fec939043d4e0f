/** Reads that meet changes: what one request brings in is never older than what another was told. */
import { expect, test } from 'vitest'
import { openSimulatedDisk } from '../../../support/simulation/simulated-disk.js'
import { stampOf, stamped } from '../../../support/simulation/simulated-origin.js'

const PAGE = 4096

test('D3: parts of a page that were read before it was trimmed are not kept', async () => {
  const { device, origin, disk, run } = await openSimulatedDisk(1, { isBuffered: false })
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
