import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { VmcacheError, systemCode } from '../../base/errors.js'
import { ADVICE, advise, readFully, writeFully } from '../../base/system-calls.js'
import type { Device } from '../device/device.js'

/** The files of checkpoints; passed in, so that tests can cut it short. Errors are those of the system calls. */
export interface CheckpointStorage {
  /** A new file in place of what is at `path`, which grows as it is written. Its commit covers all of it. */
  create(path: string): Promise<Device>
  /** For reading. A read behind its end is CORRUPT. */
  open(path: string): Promise<Device>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Does nothing where it is there. */
  makeDirectory(path: string): Promise<void>
  /** Puts the names in a directory on stable storage. */
  syncDirectory(path: string): Promise<void>
  list(path: string): Promise<string[]>
}

/** Direct I/O would accept it on any device. */
const BLOCK_BYTES = 4096
/** How often what was written is pushed out: the page cache stays for those who need it. */
const SYNC_BYTES = 64 * 1024 * 1024

export const systemCheckpointStorage: CheckpointStorage = {
  async create(path) {
    // Not the same file: somebody who died may be writing it still.
    await unlink(path).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error
    })
    return fileDevice(path, await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600))
  },
  open: async (path) => fileDevice(path, await open(path, constants.O_RDONLY)),
  rename,
  remove: unlink,
  async makeDirectory(path) {
    try {
      await mkdir(path, { mode: 0o700 })
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error
    }
    await this.syncDirectory(dirname(path))
  },
  async syncDirectory(path) {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
    await handle.sync().finally(() => handle.close())
  },
  list: (path) => readdir(path),
}

/** A file of any file system, also of one on a network, that grows as it is written. What was committed is read from its storage. */
function fileDevice(path: string, handle: FileHandle): Device {
  const file = { fd: handle.fd, path }
  let unsynced = 0
  return {
    path,
    sizeBytes: Number.MAX_SAFE_INTEGER,
    logicalBlockBytes: BLOCK_BYTES,
    tryRead: () => false,
    async read(offset, target, at, length) {
      const { size } = await handle.stat()
      if (offset + length > size) {
        throw new VmcacheError('CORRUPT', `${path} ends after ${size} bytes, ${offset + length} are expected`)
      }
      await readFully(file, offset, target, at, length)
    },
    async write(offset, bytes) {
      await writeFully(file, offset, bytes)
      unsynced += bytes.length
      if (unsynced < SYNC_BYTES) return
      unsynced = 0
      await handle.datasync()
      await advise(file, ADVICE.dontNeed)
    },
    async commit() {
      await handle.sync()
      // Whoever reads it back means what the storage has.
      await advise(file, ADVICE.dontNeed)
    },
    close: () => handle.close(),
  }
}
