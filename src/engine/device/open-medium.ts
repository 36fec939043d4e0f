import { VmcacheError } from '../../base/errors.js'
import type { Device } from './device.js'
import { openDevice } from './open-device.js'
import type { OpenOptions } from './open-file.js'

/**
 * Opens a device past the page cache, for reading what really is on it and for writing what nobody reads soon. Where its file system has
 * no direct I/O, by way of the page cache like all else.
 */
export async function openMedium(path: string, options: OpenOptions = {}): Promise<Device> {
  try {
    return await openDevice(path, { ...options, direct: true })
  } catch (error) {
    if (error instanceof VmcacheError && error.code === 'REFUSED') return openDevice(path, options)
    throw error
  }
}
