import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { messageOf, systemCode, VmcacheError, type ErrorCode } from '../../base/errors.js'
import type { OpenFile } from '../../base/system-calls.js'
import { blockQueueOf, type BlockQueue } from './block-queue.js'

export const openDescriptor = promisify(fs.open)
export const closeDescriptor = promisify(fs.close)
const fstat = promisify(fs.fstat)

export type DeviceKind = 'file' | 'block'

export interface OpenOptions {
  /** For looking at a device; its writes are refused. */
  readonly readOnly?: boolean
}

/** A file or block device that is open, with what is known of it. */
export interface KnownFile {
  readonly file: OpenFile
  readonly kind: DeviceKind
  readonly sizeBytes: number
  /** Of a block device itself, of the device below a file; null where there is none. */
  readonly queue: BlockQueue | null
}

/** What a failed open of a device means to its administrator. */
const MEANINGS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['DEVICE_NOT_FOUND', 'it does not exist'],
  ENOTDIR: ['DEVICE_NOT_FOUND', 'it does not exist'],
  ENXIO: ['DEVICE_NOT_FOUND', 'no device is behind it'],
  ENODEV: ['DEVICE_NOT_FOUND', 'no device is behind it'],
  ENOMEDIUM: ['DEVICE_NOT_FOUND', 'it holds no medium'],
  EACCES: ['DENIED', 'permission denied'],
  EPERM: ['DENIED', 'permission denied'],
  EROFS: ['DENIED', 'its file system is read-only'],
  EBUSY: ['IN_USE', 'it is mounted, or part of a volume group or an array'],
  EISDIR: ['REFUSED', 'it is a directory; a device is a file or a block device'],
}

/** The error for a device that could not be opened or looked at. */
export function deviceOpenError(path: string, cause: unknown): VmcacheError {
  if (cause instanceof VmcacheError) return cause
  const [code, reason] = MEANINGS[systemCode(cause) ?? ''] ?? ['DEVICE_FAILED', messageOf(cause)]
  return new VmcacheError(code, `cannot open device ${path}: ${reason}`, { details: { path }, cause })
}

/**
 * Opens a regular file or a block device with `flags` of open(2). Rejects with VmcacheError DEVICE_NOT_FOUND, DENIED, IN_USE,
 * REFUSED (something else than a file or a block device) or DEVICE_FAILED.
 */
export async function openKnownFile(path: string, flags: number): Promise<KnownFile> {
  // Without O_NONBLOCK the open of a FIFO waits for its other end. It means nothing to files and block devices.
  const fd = await openDescriptor(path, flags | fs.constants.O_NONBLOCK).catch((error: unknown) => {
    throw deviceOpenError(path, error)
  })
  try {
    const stat = await fstat(fd)
    const file = { fd, path }
    if (stat.isFile()) return { file, kind: 'file', sizeBytes: stat.size, queue: await blockQueueOf(stat.dev) }
    if (!stat.isBlockDevice())
      throw new VmcacheError('REFUSED', `cannot use ${path}: it is neither a file nor a block device`)
    const queue = await blockQueueOf(stat.rdev)
    if (queue === null)
      throw new VmcacheError('DEVICE_NOT_FOUND', `cannot use ${path}: the kernel shows no device behind it`)
    return { file, kind: 'block', sizeBytes: queue.sizeBytes, queue }
  } catch (error) {
    await closeDescriptor(fd)
    throw deviceOpenError(path, error)
  }
}
