import { constants } from 'node:fs'
import { open, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { assert } from '../../base/assert.js'
import { systemCode, VmcacheError } from '../../base/errors.js'
import { ADVICE, advise, fallocate, isUnsupported, writeFully } from '../../base/system-calls.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import type { Progress } from '../engine.js'
import { deviceOpenError } from './open-file.js'

/** One write of zeroes, and how often what was written is pushed out: the page cache stays for those who need it. */
const WRITE_BYTES = 4 * 1024 * 1024
const SYNC_BYTES = 64 * 1024 * 1024

const OUT_OF_SPACE: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/**
 * Creates a device file of `sizeBytes` and writes it full once with zeroes (a commit relies on it, see file-device.ts). On any
 * failure, and when `signal` aborts, it is removed again. Rejects with NO_SPACE, DENIED, DEVICE_NOT_FOUND (its directory),
 * INTERRUPTED, and with REFUSED where something exists at the path, which is left as it is.
 */
export async function createDeviceFile(
  path: string,
  sizeBytes: number,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<void> {
  assert(sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0, 'a device is made of whole sectors')
  const handle = await create(path)
  try {
    await fill(handle, path, sizeBytes, progress, signal)
    await syncDirectory(dirname(path))
  } catch (error) {
    await unlink(path)
    if (!OUT_OF_SPACE.has(systemCode(error))) throw deviceOpenError(path, error)
    throw new VmcacheError(
      'NO_SPACE',
      `cannot create device ${path}: no room for ${sizeBytes} bytes on its file system`,
      {
        hint: 'choose a smaller size or another file system',
        details: { path, sizeBytes },
        cause: error,
      },
    )
  } finally {
    await handle.close()
  }
}

async function create(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw deviceOpenError(path, error)
    throw new VmcacheError('REFUSED', `cannot create device ${path}: it exists already`, {
      hint: 'leave the size out to use it as it is, or remove it first',
      details: { path },
    })
  }
}

async function fill(
  handle: FileHandle,
  path: string,
  sizeBytes: number,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const file = { fd: handle.fd, path }
  // All of the space or none, known at once. A file system without fallocate finds out while it writes.
  await fallocate(file, 0, 0, sizeBytes).catch((error: unknown) => {
    if (!isUnsupported(error)) throw error
  })
  const zeroes = Buffer.alloc(Math.min(WRITE_BYTES, sizeBytes))
  for (let done = 0; done < sizeBytes;) {
    if (signal.aborted) throw new VmcacheError('INTERRUPTED', `creation of device ${path} was cancelled`)
    const length = Math.min(zeroes.length, sizeBytes - done)
    await writeFully(file, done, zeroes.subarray(0, length))
    done += length
    if (done % SYNC_BYTES === 0) await handle.datasync()
    progress(done, sizeBytes, 'bytes')
  }
  await handle.sync()
  await advise(file, ADVICE.dontNeed)
}

/** Makes a new name in a directory survive a power cut. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync().finally(() => handle.close())
}
