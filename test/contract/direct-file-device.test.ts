import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDeviceFile } from '../../src/engine/device/create-device-file.js'
import { openDevice } from '../../src/engine/device/open-device.js'
import { DEVICE_CONTRACT_BYTES, testDevice } from './device.js'

testDevice('file by direct I/O', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-device-'))
  const path = join(directory, 'device')
  await createDeviceFile(path, DEVICE_CONTRACT_BYTES, { progress: () => {}, signal: new AbortController().signal })
  return { open: () => openDevice(path, { direct: true }), remove: () => rm(directory, { recursive: true }) }
})
