import { VmcacheError } from '../../base/errors.js'
import type { Device } from '../device/device.js'

/** The same device; `failed` hears of each of its errors, after the caller has. */
export function watchDevice(device: Device, failed: (error: VmcacheError) => void): Device {
  const note = (error: unknown): never => {
    if (error instanceof VmcacheError && error.code === 'DEVICE_FAILED') queueMicrotask(() => failed(error))
    throw error
  }
  return {
    path: device.path,
    sizeBytes: device.sizeBytes,
    logicalBlockBytes: device.logicalBlockBytes,
    tryRead(offset, target, at, length) {
      try {
        return device.tryRead(offset, target, at, length)
      } catch (error) {
        return note(error)
      }
    },
    read: (offset, target, at, length) => device.read(offset, target, at, length).catch(note),
    write: (offset, bytes) => device.write(offset, bytes)?.catch(note),
    commit: (ranges) => device.commit(ranges).catch(note),
    close: () => device.close(),
  }
}
