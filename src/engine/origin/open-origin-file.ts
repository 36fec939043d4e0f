import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { VmcacheError } from '../../base/errors.js'
import type { OpenFile } from '../../base/system-calls.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { blockQueueOf } from '../device/block-queue.js'
import { checkDiskSize } from './disk-size.js'
import { originOpenError } from './origin-failure.js'

const open = promisify(fs.open)
const close = promisify(fs.close)
const fstat = promisify(fs.fstat)

export interface OpenOriginOptions {
  readonly readOnly: boolean
}

export interface OriginFile {
  readonly file: OpenFile
  readonly sizeBytes: number
  /** Of a block device; of a file, through the page cache, one sector. */
  readonly logicalBlockBytes: number
}

/** Opens the file or block device of an origin. Rejects with ORIGIN_NOT_FOUND, DENIED, ORIGIN_SIZE or ORIGIN_FAILED. */
export async function openOriginFile(path: string, flags: number): Promise<OriginFile> {
  // Without O_NONBLOCK the open of a FIFO that took the file's place would wait for its other end.
  const fd = await open(path, flags | fs.constants.O_NONBLOCK).catch((error: unknown) => {
    throw originOpenError(path, error)
  })
  try {
    const { sizeBytes, logicalBlockBytes } = await sizesOf(fd, path)
    checkDiskSize(path, sizeBytes)
    return { file: { fd, path }, sizeBytes, logicalBlockBytes }
  } catch (error) {
    await close(fd)
    throw originOpenError(path, error)
  }
}

async function sizesOf(fd: number, path: string): Promise<{ sizeBytes: number; logicalBlockBytes: number }> {
  const stat = await fstat(fd)
  if (stat.isFile()) return { sizeBytes: stat.size, logicalBlockBytes: SECTOR_BYTES }
  const queue = stat.isBlockDevice() ? await blockQueueOf(stat.rdev) : null
  if (queue === null)
    throw new VmcacheError('ORIGIN_NOT_FOUND', `cannot open origin ${path}: the kernel shows no device behind it`)
  return queue
}
