import { read, write } from 'node:fs'
import type { OpenFile } from './libc.js'

/**
 * Reads `length` bytes at `offset` of a file into `target` at `at`, on a thread of the pool; short reads are continued. Rejects
 * where the file ends before.
 */
export function readFully(
  file: OpenFile,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0
    const step = (): void => {
      read(file.fd, target, at + done, length - done, offset + done, (error, count) => {
        if (error !== null) return reject(error)
        if (count === 0) return reject(new Error(`it ends at byte ${offset + done}, within what was to be read`))
        done += count
        if (done < length) step()
        else resolve()
      })
    }
    step()
  })
}

/** Writes all of `bytes` at `offset` of a file, on a thread of the pool; short writes are continued. */
export function writeFully(file: OpenFile, offset: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0
    const step = (): void => {
      write(file.fd, bytes, done, bytes.length - done, offset + done, (error, count) => {
        if (error !== null) return reject(error)
        done += count
        if (done < bytes.length) step()
        else resolve()
      })
    }
    step()
  })
}
