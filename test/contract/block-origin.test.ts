import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openOrigin } from '../../src/engine/origin/open-origin.js'
import { attachLoopDevice, whyNoLoopDevices } from '../support/block-devices.js'
import { describeUnless } from '../support/conditions.js'
import { FILLING, ORIGIN_CONTRACT_BYTES, testOrigin } from './origin.js'

const missing = await whyNoLoopDevices()

describeUnless(missing, 'with loop devices', () => {
  for (const logicalBlockBytes of [512, 4096] as const) {
    testOrigin(`block device with logical blocks of ${logicalBlockBytes} bytes`, async () => {
      const directory = await mkdtemp(join(tmpdir(), 'vmcache-origin-'))
      const backing = join(directory, 'backing')
      await writeFile(backing, Buffer.alloc(ORIGIN_CONTRACT_BYTES, FILLING))
      const loop = await attachLoopDevice(backing, { logicalBlockBytes })
      return {
        open: (options) => openOrigin(loop.path, options),
        async remove() {
          await loop.detach()
          await rm(directory, { recursive: true })
        },
      }
    })
  }
})
