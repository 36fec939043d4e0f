import { constants } from 'node:fs'
import { VmcacheError } from '../../base/errors.js'
import { lockRange } from '../../base/system-calls.js'
import { closeDescriptor, openKnownFile } from './open-file.js'

export interface DeviceLock {
  release(): Promise<void>
}

/** From the first byte to the end, wherever that moves. */
const WHOLE_FILE = [0, 0] as const

/**
 * Locks a device for this engine, all its threads: another engine, or another cache of this one, gets IN_USE until
 * `release` or the death of the process. A block device is also claimed from the kernel (O_EXCL), so that one that is mounted
 * or part of something else is refused, and cannot be mounted meanwhile.
 */
export async function lockDevice(path: string): Promise<DeviceLock> {
  // O_EXCL without O_CREAT means something to block devices only (open(2)).
  const { file } = await openKnownFile(path, constants.O_RDWR | constants.O_EXCL)
  const locked = await lockRange(file, 'exclusive', ...WHOLE_FILE).catch(async (error: unknown) => {
    await closeDescriptor(file.fd)
    throw error
  })
  if (!locked) {
    await closeDescriptor(file.fd)
    throw new VmcacheError('IN_USE', `device ${path} is in use by another cache or engine`, {
      hint: 'stop the other engine, or take another device',
      details: { path },
    })
  }
  return { release: () => closeDescriptor(file.fd) }
}
