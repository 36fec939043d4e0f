import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDevice } from '../../src/engine/device/open-device.js'
import { attachLoopDevice, whyNoLoopDevices } from '../support/block-devices.js'
import { describeUnless } from '../support/conditions.js'
import { DEVICE_CONTRACT_BYTES, testDevice } from './device.js'

const missing = await whyNoLoopDevices()

describeUnless(missing, 'with loop devices', () => {
  for (const logicalBlockBytes of [512, 4096] as const) {
    testDevice(`block device with logical blocks of ${logicalBlockBytes} bytes`, async () => {
      const directory = await mkdtemp(join(tmpdir(), 'vmcache-device-'))
      const backing = join(directory, 'backing')
      await writeFile(backing, Buffer.alloc(DEVICE_CONTRACT_BYTES))
      const loop = await attachLoopDevice(backing, { logicalBlockBytes })
      return {
        open: () => openDevice(loop.path),
        async remove() {
          await loop.detach()
          await rm(directory, { recursive: true })
        },
      }
    })
  }
})
