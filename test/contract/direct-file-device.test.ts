import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../src/base/errors.js'
import { createDeviceFile } from '../../src/engine/device/create-device-file.js'
import { openDevice } from '../../src/engine/device/open-device.js'
import { describeUnless } from '../support/conditions.js'
import { DEVICE_CONTRACT_BYTES, testDevice, type DeviceFixture } from './device.js'

async function createFixture(): Promise<DeviceFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-device-'))
  const path = join(directory, 'device')
  await createDeviceFile(path, DEVICE_CONTRACT_BYTES, { progress: () => {}, signal: new AbortController().signal })
  return { open: () => openDevice(path, { direct: true }), remove: () => rm(directory, { recursive: true }) }
}

/** Not every file system of a temporary directory has direct I/O. */
async function whyNoDirectIo(): Promise<string | null> {
  const fixture = await createFixture()
  const opened = await fixture.open().catch(messageOf)
  if (typeof opened !== 'string') await opened.close()
  await fixture.remove()
  return typeof opened === 'string' ? opened : null
}

const missing = await whyNoDirectIo()

describeUnless(missing, 'with direct I/O', () => {
  testDevice('file by direct I/O', createFixture)
})
