import { constants, writeSync } from 'node:fs'
import { assert } from '../../base/assert.js'
import {
  ADVICE,
  advise,
  readCached,
  readFully,
  syncFileRange,
  writeDurably,
  type OpenFile,
} from '../../base/system-calls.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import type { ByteRange, Device } from './device.js'
import { createDeviceState } from './device-state.js'
import { closeDescriptor, openKnownFile, type OpenOptions } from './open-file.js'

/**
 * A regular file through the page cache: what was written or read lately is read inline, without a thread and without
 * waiting, and a write is one copy into the page cache.
 *
 * A commit must not pay for other tenants of the same file, as fdatasync does. It pushes its own ranges to the device,
 * and writes the end of the last one again, as it is, with RWF_DSYNC, which ends with one commit of the file system's
 * journal and one flush of the device's cache, and so covers all that the ranges sent there. This needs a file system that
 * overwrites in place (file-systems.ts) and a file that was written full once (create-device-file.ts): an extent that was only
 * allocated is still "unwritten" after a power cut, whatever was pushed into it.
 */
export async function openFileDevice(path: string, options: OpenOptions = {}): Promise<Device> {
  const access = options.readOnly === true ? constants.O_RDONLY : constants.O_RDWR
  const { file, kind, sizeBytes } = await openKnownFile(path, access)
  assert(kind === 'file', 'a block device is opened by openBlockDevice')
  // The engine reads pages at random, and reads ahead by itself where that helps.
  await advise(file, ADVICE.random)
  return createFileDevice(file, sizeBytes - (sizeBytes % SECTOR_BYTES))
}

/** How much of its last range a commit writes again: most commits are one frame of this size at most, and so one call. */
const TAIL_BYTES = 64 * 1024

/** The tail of a commit, while it is read and written again. */
interface Tail extends ByteRange {
  readonly done: Promise<void>
}

function createFileDevice(file: OpenFile, sizeBytes: number): Device {
  const { path } = file
  const state = createDeviceState(path, sizeBytes)
  const tails = new Set<Tail>()

  function write(offset: number, bytes: Uint8Array): Promise<void> | undefined {
    for (const tail of tails) {
      // A commit is about to write these sectors as they were: the new content comes after it.
      if (tail.offset < offset + bytes.length && offset < tail.offset + tail.length)
        return writeAfter(tail, offset, bytes)
    }
    try {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(file.fd, bytes, done, bytes.length - done, offset + done)
      }
      return undefined
    } catch (error) {
      throw state.fail(`write ${bytes.length} bytes at ${offset}`, error)
    }
  }

  async function writeAfter(tail: Tail, offset: number, bytes: Uint8Array): Promise<void> {
    await tail.done.catch(() => undefined)
    await write(offset, bytes)
  }

  async function commit(ranges: readonly ByteRange[]): Promise<void> {
    for (const { offset, length } of ranges) state.check(offset, length)
    const merged = mergeRanges(ranges)
    const last = merged.pop()
    if (last === undefined) return
    const length = Math.min(last.length, TAIL_BYTES)
    const offset = last.offset + last.length - length
    if (length < last.length) merged.push({ offset: last.offset, length: last.length - length })
    try {
      await Promise.all(merged.map((range) => syncFileRange(file, range.offset, range.length)))
      const tail = { offset, length, done: rewriteDurably(file, offset, length) }
      tails.add(tail)
      await tail.done.finally(() => tails.delete(tail))
    } catch (error) {
      throw state.fail('commit', error)
    }
  }

  async function read(offset: number, target: Uint8Array, at: number, length: number): Promise<void> {
    state.checkRead(offset, target, at, length)
    try {
      await readFully(file, offset, target, at, length)
    } catch (error) {
      throw state.readError(offset, length, error)
    }
  }

  return {
    path,
    sizeBytes,
    logicalBlockBytes: SECTOR_BYTES,
    tryRead(offset, target, at, length) {
      state.checkRead(offset, target, at, length)
      try {
        return readCached(file, offset, target, at, length) === length
      } catch (error) {
        throw state.readError(offset, length, error)
      }
    },
    read: (offset, target, at, length) => state.track(read(offset, target, at, length)),
    write(offset, bytes) {
      try {
        assert(offset % SECTOR_BYTES === 0 && bytes.length % SECTOR_BYTES === 0, 'a write is made of whole sectors')
        state.check(offset, bytes.length)
        const written = write(offset, bytes)
        return written === undefined ? undefined : state.track(written)
      } catch (error) {
        return Promise.reject(error as Error)
      }
    },
    commit: (ranges) => state.track(commit(ranges)),
    async close() {
      await state.close()
      await closeDescriptor(file.fd)
    },
  }
}

/** What was just written is in the page cache still, so that nothing is read from the device for it, as a rule. */
async function rewriteDurably(file: OpenFile, offset: number, length: number): Promise<void> {
  const bytes = Buffer.allocUnsafe(length)
  if (readCached(file, offset, bytes, 0, length) < length) await readFully(file, offset, bytes, 0, length)
  await writeDurably(file, offset, bytes)
}

/** The same bytes in as few ranges, in order. */
export function mergeRanges(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: ByteRange[] = []
  for (const range of [...ranges].sort((left, right) => left.offset - right.offset)) {
    const previous = merged.at(-1)
    if (previous === undefined || previous.offset + previous.length < range.offset) merged.push(range)
    else {
      const end = Math.max(previous.offset + previous.length, range.offset + range.length)
      merged[merged.length - 1] = { offset: previous.offset, length: end - previous.offset }
    }
  }
  return merged
}
