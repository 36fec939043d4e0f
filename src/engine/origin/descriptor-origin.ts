import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { coalesce } from '../../base/coalesce.js'
import type { OpenFile } from '../../base/system-calls.js'
import { createCalls } from './calls.js'
import { OriginError, type AllocationExtent, type Origin, type OriginDescription } from './origin.js'
import type { Zeroing } from './zeroing.js'

const close = promisify(fs.close)
const fdatasync = promisify(fs.fdatasync)

/** What differs between the kinds of origin that are a descriptor. */
export interface DescriptorCalls {
  read(offset: number, target: Uint8Array): Promise<void>
  write(offset: number, data: Uint8Array): Promise<void>
  readonly zeroing: Zeroing
  allocation(offset: number, length: number): Promise<AllocationExtent[]>
}

/**
 * An origin behind a descriptor, which it closes. All calls run on threads of the pool.
 *
 * After a failed fdatasync the kernel has forgotten which pages never reached the storage: the next one would succeed
 * without them. So a failed flush ends the session, and what was written since the last good flush is sent again.
 */
export function createDescriptorOrigin(file: OpenFile, description: OriginDescription, kind: DescriptorCalls): Origin {
  const { path } = file
  const calls = createCalls(path)
  let session = 0

  const flush = coalesce(async () => {
    try {
      await fdatasync(file.fd)
    } catch (error) {
      session++
      throw error
    }
  })

  async function change(action: string, call: () => Promise<void>): Promise<void> {
    if (description.readOnly)
      throw new OriginError(`origin ${path}: cannot ${action}: it is attached read-only`, 'EPERM')
    await calls.run(action, call)
  }

  return {
    description,
    get session() {
      return session
    },
    read: (offset, target) => calls.run(`read ${target.length} bytes at ${offset}`, () => kind.read(offset, target)),
    write: (offset, data) => change(`write ${data.length} bytes at ${offset}`, () => kind.write(offset, data)),
    flush: () => calls.run('flush', flush),
    trim: (offset, length) => change(`trim ${length} bytes at ${offset}`, () => kind.zeroing.trim(offset, length)),
    zero: (offset, length, options) =>
      change(`zero ${length} bytes at ${offset}`, () => kind.zeroing.zero(offset, length, options)),
    allocation: (offset, length) =>
      calls.run(`map ${length} bytes at ${offset}`, () => kind.allocation(offset, length)),
    close: (timeoutMilliseconds) => calls.close(timeoutMilliseconds, () => close(file.fd)),
  }
}
