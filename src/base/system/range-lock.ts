import { constants } from 'node:os'
import { checked, systemCall, type OpenFile } from './libc.js'

/**
 * Open file description locks (fcntl(2)) on byte ranges: advisory, owned by the open file, gone when its last
 * descriptor is closed, whatever happens to the process. Over NFS they reach all clients of the server. QEMU locks
 * images with them.
 */
export type LockKind = 'shared' | 'exclusive'

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

const { EAGAIN, EACCES } = constants.errno

const fcntl = systemCall<[number, number, Uint8Array]>('fcntl', ['int', 'int', 'void *'], 'int')

/*
 * struct flock, 64-bit:
 *   0      2        4      8          16       24     28     32
 *   | type | whence | zero | start    | length | pid  | zero |
 * A length of 0 reaches to the end of the file and beyond; pid is 0 for these locks.
 */
function packLock(type: number, start: number, length: number): Buffer {
  const lock = Buffer.alloc(32)
  lock.writeInt16LE(type, 0)
  lock.writeBigInt64LE(BigInt(start), 8)
  lock.writeBigInt64LE(BigInt(length), 16)
  return lock
}

const typeOf = (kind: LockKind): number => (kind === 'shared' ? F_RDLCK : F_WRLCK)

/**
 * Locks a range, or returns false where another open file holds a lock in its way. The file must be open for reading
 * (shared) or writing (exclusive).
 */
export async function lockRange(file: OpenFile, kind: LockKind, start: number, length: number): Promise<boolean> {
  const outcome = await fcntl.later(file.fd, F_OFD_SETLK, packLock(typeOf(kind), start, length))
  if (outcome === -EAGAIN || outcome === -EACCES) return false
  checked(outcome, 'fcntl(F_OFD_SETLK)', file.path)
  return true
}

export async function unlockRange(file: OpenFile, start: number, length: number): Promise<void> {
  checked(await fcntl.later(file.fd, F_OFD_SETLK, packLock(F_UNLCK, start, length)), 'fcntl(F_OFD_SETLK)', file.path)
}

/** Whether another open file holds a lock that stands in the way of one of `kind`; locks nothing. */
export async function isRangeLocked(file: OpenFile, kind: LockKind, start: number, length: number): Promise<boolean> {
  const lock = packLock(typeOf(kind), start, length)
  checked(await fcntl.later(file.fd, F_OFD_GETLK, lock), 'fcntl(F_OFD_GETLK)', file.path)
  return lock.readInt16LE(0) !== F_UNLCK
}
