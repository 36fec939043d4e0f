import { close, constants, open } from 'node:fs'
import { promisify } from 'node:util'
import { messageOf, systemCode, VmcacheError } from './errors.js'
import { isRangeLocked, lockRange, type OpenFile } from './system-calls.js'

/**
 * The locks by which QEMU processes keep each other off an image (QEMU, block/file-posix.c and docs/system/images): one byte for each
 * permission that a user has, and one for each that it does not share with others. Everybody locks its bytes *shared*, and then
 * looks whether somebody has locked a byte that contradicts: a permission that it does not share, or a refusal to share one that
 * it has. The content of the bytes means nothing.
 */
const PERMISSIONS = ['consistent read', 'write', 'write unchanged', 'resize'] as const
const PERMISSION_BASE = 100
const UNSHARED_BASE = 200
/** Consistent read alone is shared, as a QEMU that runs a disk does: tools may read the image meanwhile. */
const UNSHARED = [1, 2, 3] as const

export interface ImageLock {
  /** Lets others use the image; so does the death of this process. */
  release(): Promise<void>
}

/**
 * Locks an image as a QEMU that writes it and lets nobody else write: no other QEMU opens it for writing, and no other
 * engine locks it. Rejects with IN_USE where somebody has it open in a way that does not go together with that,
 * ORIGIN_NOT_FOUND or DENIED where it cannot be opened. Programs that take no such locks (dd, nbdkit) are not kept out.
 */
export async function lockImage(path: string): Promise<ImageLock> {
  // Reading is enough for shared locks. O_NONBLOCK: a FIFO must not make the open wait.
  const fd = await promisify(open)(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw openError(path, error)
  })
  const release = (): Promise<void> => promisify(close)(fd)
  try {
    const holder = await lockAll({ fd, path })
    if (holder === null) return { release }
    throw new VmcacheError('IN_USE', `image ${path} is in use by another program: ${holder}`, {
      hint: 'stop the virtual machine or program that has it open (lsof shows which), then try again',
      details: { path },
    })
  } catch (error) {
    await release()
    throw error
  }
}

/** Takes every byte, then looks for contradictions: null, or what the other one does. Of two that begin at once both may fail. */
async function lockAll(file: OpenFile): Promise<string | null> {
  const bytes = [...PERMISSIONS.keys()].map((index) => PERMISSION_BASE + index)
  for (const byte of [...bytes, ...UNSHARED.map((index) => UNSHARED_BASE + index)]) {
    if (!(await lockRange(file, 'shared', byte, 1))) return 'it has locked it'
  }
  const isTaken = (byte: number): Promise<boolean> => isRangeLocked(file, 'exclusive', byte, 1)
  const used: string[] = []
  const unshared: string[] = []
  for (const [index, permission] of PERMISSIONS.entries()) {
    if (await isTaken(PERMISSION_BASE + index)) used.push(permission)
    if (await isTaken(UNSHARED_BASE + index)) unshared.push(permission)
  }
  if (used.length > 0) return `it has it open for ${used.join(', ')}`
  return unshared.length > 0 ? `it does not share ${unshared.join(', ')}` : null
}

function openError(path: string, error: unknown): VmcacheError {
  const code = systemCode(error)
  const options = { details: { path }, cause: error }
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new VmcacheError('ORIGIN_NOT_FOUND', `cannot lock image ${path}: it does not exist`, options)
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new VmcacheError('DENIED', `cannot lock image ${path}: permission denied`, options)
  }
  return new VmcacheError('ORIGIN_FAILED', `cannot lock image ${path}: ${messageOf(error)}`, options)
}
