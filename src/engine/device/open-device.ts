import { constants } from 'node:fs'
import { openBlockDevice } from './block-device.js'
import type { Device } from './device.js'
import { openFileDevice } from './file-device.js'
import { suitsPageCache } from './file-systems.js'
import { closeDescriptor, openKnownFile, type OpenOptions } from './open-file.js'

/**
 * Opens a device by the way that suits it: a block device by direct I/O; a regular file through the page cache, unless
 * `direct` is set, it has holes, or its file system does not overwrite in place. Every thread opens its own; `lockDevice` keeps other
 * engines out.
 */
export async function openDevice(
  path: string,
  options: OpenOptions & { readonly direct?: boolean } = {},
): Promise<Device> {
  const { file, kind, sizeBytes } = await openKnownFile(path, constants.O_RDONLY)
  try {
    const buffered = kind === 'file' && options.direct !== true && (await suitsPageCache(file, sizeBytes))
    return await (buffered ? openFileDevice(path, options) : openBlockDevice(path, options))
  } finally {
    await closeDescriptor(file.fd)
  }
}
