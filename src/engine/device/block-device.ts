import { constants, fdatasync as fdatasyncCallback } from 'node:fs'
import { promisify } from 'node:util'
import { assert } from '../../base/assert.js'
import { coalesce } from '../../base/coalesce.js'
import { systemCode, VmcacheError } from '../../base/errors.js'
import type { Device } from './device.js'
import { createDeviceState } from './device-state.js'
import { createDirectIo } from './direct-io.js'
import { closeDescriptor, openKnownFile, type OpenOptions } from './open-file.js'

const fdatasync = promisify(fdatasyncCallback)

/** Where neither device nor file system says otherwise: what every one of them accepts. */
const LARGEST_LOGICAL_BLOCK_BYTES = 4096
/** Unaligned requests in flight; memory that was used once, up to 12 MiB for each device and thread, is shared by all devices. */
const BOUNCE_BUFFERS = { small: 64, large: 8 } as const

/**
 * A block device, or a regular file, by direct I/O. Everything that uses it does the same, so no dirty page of anybody waits in
 * the page cache, and the fdatasync of a commit is one flush of the device's own cache. Commits that are asked for
 * while one is under way share the next.
 */
export async function openBlockDevice(path: string, options: OpenOptions = {}): Promise<Device> {
  const access = options.readOnly === true ? constants.O_RDONLY : constants.O_RDWR
  const known = await openKnownFile(path, access | constants.O_DIRECT).catch((error: unknown) => {
    if (systemCode((error as Error).cause) !== 'EINVAL') throw error
    throw new VmcacheError('REFUSED', `cannot use device ${path}: its file system has no direct I/O`, {
      hint: 'use a block device, or a file on ext4 or xfs',
    })
  })
  const { file } = known
  const logicalBlockBytes = known.queue?.logicalBlockBytes ?? LARGEST_LOGICAL_BLOCK_BYTES
  const sizeBytes = known.sizeBytes - (known.sizeBytes % logicalBlockBytes)
  const state = createDeviceState(path, sizeBytes)
  const io = createDirectIo(file, logicalBlockBytes, BOUNCE_BUFFERS)
  const flush = coalesce(() => fdatasync(file.fd))

  async function read(offset: number, target: Uint8Array, at: number, length: number): Promise<void> {
    state.checkRead(offset, target, at, length)
    try {
      await io.read(offset, target, at, length)
    } catch (error) {
      throw state.readError(offset, length, error)
    }
  }

  async function write(offset: number, bytes: Uint8Array): Promise<void> {
    state.check(offset, bytes.length)
    assert(
      offset % logicalBlockBytes === 0 && bytes.length % logicalBlockBytes === 0,
      'a write is made of whole blocks',
    )
    try {
      await io.write(offset, bytes)
    } catch (error) {
      throw state.fail(`write ${bytes.length} bytes at ${offset}`, error)
    }
  }

  async function commit(): Promise<void> {
    state.check(0, 0)
    try {
      await flush()
    } catch (error) {
      throw state.fail('commit', error)
    }
  }

  return {
    path,
    sizeBytes,
    logicalBlockBytes,
    tryRead(offset, target, at, length) {
      state.checkRead(offset, target, at, length)
      return false
    },
    read: (offset, target, at, length) => state.track(read(offset, target, at, length)),
    write: (offset, bytes) => state.track(write(offset, bytes)),
    commit: () => state.track(commit()),
    async close() {
      await state.close()
      await closeDescriptor(file.fd)
    },
  }
}
