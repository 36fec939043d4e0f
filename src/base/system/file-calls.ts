import { constants } from 'node:os'
import { addressOf, checked, lastErrno, systemCall, systemError, type OpenFile } from './libc.js'

const { EAGAIN, EINVAL, EOPNOTSUPP, ENXIO } = constants.errno

const RWF_DSYNC = 0x2
const RWF_NOWAIT = 0x8
const SYNC_FILE_RANGE_WAIT_BEFORE = 1
const SYNC_FILE_RANGE_WRITE = 2
const SYNC_FILE_RANGE_WAIT_AFTER = 4
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** Modes of fallocate(2): with none, space is allocated and reads as zeroes. */
export const FALLOCATE = { keepSize: 0x1, punchHole: 0x2, zeroRange: 0x10 } as const
/** Advice of posix_fadvise(2). */
export const ADVICE = { random: 1, sequential: 2, dontNeed: 4 } as const

const preadv2 = systemCall<[number, number, number, number, number]>('preadv2', [
  'int',
  'uintptr_t',
  'int',
  'int64',
  'int',
])
const pwritev2 = systemCall<[number, Uint8Array, number, number, number]>('pwritev2', [
  'int',
  'void *',
  'int',
  'int64',
  'int',
])
const syncFileRangeCall = systemCall<[number, number, number, number]>(
  'sync_file_range',
  ['int', 'int64', 'int64', 'uint'],
  'int',
)
const fallocateCall = systemCall<[number, number, number, number]>('fallocate', ['int', 'int', 'int64', 'int64'], 'int')
/** Returns a positive errno instead of setting it. */
const fadviseCall = systemCall<[number, number, number, number]>(
  'posix_fadvise',
  ['int', 'int64', 'int64', 'int'],
  'int',
)
const lseek = systemCall<[number, number, number]>('lseek', ['int', 'int64', 'int'])
const fstatfs = systemCall<[number, Uint8Array]>('fstatfs', ['int', 'void *'], 'int')

/** struct iovec: address, length. */
const IOVEC_WORDS = 4

function packVector(words: Uint32Array, address: number, length: number): void {
  words[0] = address % 0x1_0000_0000
  words[1] = address / 0x1_0000_0000
  words[2] = length
  words[3] = 0
}

/** The vector of `readCached`, which uses it within one call only; and where it is. */
const cachedVector = new Uint32Array(IOVEC_WORDS)
let cachedVectorAddress = 0
let preadv2Bare: ReturnType<typeof preadv2.bare>

/**
 * Reads up to `length` bytes at `offset` into `target` at `at` from the page cache alone (preadv2 with RWF_NOWAIT) and
 * returns how many were there: fewer than `length`, or 0, where the call would have to wait, at the end of the file,
 * and on file systems that cannot tell. The way of every hit: it allocates nothing.
 */
export function readCached(file: OpenFile, offset: number, target: Uint8Array, at: number, length: number): number {
  if (cachedVectorAddress === 0) {
    preadv2Bare = preadv2.bare()
    cachedVectorAddress = addressOf(new Uint8Array(cachedVector.buffer))
  }
  packVector(cachedVector, addressOf(target) + at, length)
  const outcome = preadv2Bare(file.fd, cachedVectorAddress, 1, offset, RWF_NOWAIT)
  if (outcome >= 0) return outcome
  const errno = lastErrno()
  if (errno === EAGAIN || errno === EOPNOTSUPP) return 0
  throw systemError('preadv2', file.path, errno)
}

/**
 * Writes `bytes` at `offset`, and ends when they, and the metadata that is needed to read them back, are on stable storage
 * (pwritev2 with RWF_DSYNC: the file system commits and flushes the device's cache).
 */
export async function writeDurably(file: OpenFile, offset: number, bytes: Uint8Array): Promise<void> {
  const words = new Uint32Array(IOVEC_WORDS)
  const vector = new Uint8Array(words.buffer)
  for (let done = 0; done < bytes.length;) {
    packVector(words, addressOf(bytes) + done, bytes.length - done)
    done += checked(await pwritev2.later(file.fd, vector, 1, offset + done, RWF_DSYNC), 'pwritev2', file.path)
  }
}

/** Writes the dirty pages of a range to the device and waits for them; neither metadata nor the device's own cache is flushed. */
export async function syncFileRange(file: OpenFile, offset: number, length: number): Promise<void> {
  const flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
  checked(await syncFileRangeCall.later(file.fd, offset, length, flags), 'sync_file_range', file.path)
}

/** fallocate(2) with a sum of {@link FALLOCATE}. */
export async function fallocate(file: OpenFile, mode: number, offset: number, length: number): Promise<void> {
  checked(await fallocateCall.later(file.fd, mode, offset, length), 'fallocate', file.path)
}

/** posix_fadvise(2) for the whole file. */
export async function advise(file: OpenFile, advice: number): Promise<void> {
  const errno = await fadviseCall.later(file.fd, 0, 0, advice)
  if (errno !== 0) throw systemError('posix_fadvise', file.path, errno)
}

/** The first offset at or after `offset` that holds data, or null where the rest of the file is a hole. */
export function nextData(file: OpenFile, offset: number): Promise<number | null> {
  return seek(file, offset, SEEK_DATA)
}

/** The first offset at or after `offset` that lies in a hole (the end of the file counts as one), or null beyond the end. */
export function nextHole(file: OpenFile, offset: number): Promise<number | null> {
  return seek(file, offset, SEEK_HOLE)
}

/** Moves the descriptor's own offset, which nothing here uses: all reads and writes name theirs. */
async function seek(file: OpenFile, offset: number, whence: number): Promise<number | null> {
  const outcome = await lseek.later(file.fd, offset, whence)
  return outcome === -ENXIO ? null : checked(outcome, 'lseek', file.path)
}

/** The magic number of the file system that holds an open file (statfs(2), f_type). */
export async function fileSystemMagic(file: OpenFile): Promise<number> {
  const buffer = Buffer.alloc(120)
  checked(await fstatfs.later(file.fd, buffer), 'fstatfs', file.path)
  return Number(buffer.readBigUInt64LE(0) & 0xffff_ffffn)
}

/** Whether a call failed because the file system or device does not know the operation. */
export function isUnsupported(error: unknown): boolean {
  const errno = (error as NodeJS.ErrnoException | null)?.errno
  return errno === -EOPNOTSUPP || errno === -EINVAL || errno === -constants.errno.ENOSYS
}
