import { assert } from '../../base/assert.js'
import { messageOf, VmcacheError } from '../../base/errors.js'

/** What every device keeps of its own state: whether it has failed, whether it was closed, and which calls are in flight. */
export interface DeviceState {
  /** Throws the failure of a failed device; a range that does not fit or a closed device is a bug. */
  check(offset: number, length: number): void
  /** The same for a read; a target that is too small is a bug as well. */
  checkRead(offset: number, target: Uint8Array, at: number, length: number): void
  /** The error of a read; the device goes on. */
  readError(offset: number, length: number, cause: unknown): VmcacheError
  /** The device has failed: notes it, and returns the error that every later call gets. The first failure stays. */
  fail(action: string, cause: unknown): VmcacheError
  /** Counts an asynchronous call: `close` waits for it. */
  track<T>(call: Promise<T>): Promise<T>
  /** Ends when no call is in flight; later calls are bugs. */
  close(): Promise<void>
}

export function createDeviceState(path: string, sizeBytes: number): DeviceState {
  const inFlight = new Set<Promise<unknown>>()
  let failure: VmcacheError | undefined
  let closed = false

  function check(offset: number, length: number): void {
    assert(!closed, 'the device is closed')
    assert(offset >= 0 && length >= 0 && offset + length <= sizeBytes, 'the range lies within the device')
    if (failure !== undefined) throw failure
  }

  return {
    check,
    checkRead(offset, target, at, length) {
      assert(at >= 0 && at + length <= target.length, 'the target holds what is read')
      check(offset, length)
    },
    readError: (offset, length, cause) =>
      new VmcacheError(
        'DEVICE_FAILED',
        `device ${path}: cannot read ${length} bytes at ${offset}: ${messageOf(cause)}`,
        {
          details: { path, offset, length },
          cause,
        },
      ),
    fail(action, cause) {
      failure ??= new VmcacheError(
        'DEVICE_FAILED',
        `device ${path} has failed: cannot ${action}: ${messageOf(cause)}`,
        {
          hint: 'its disks go on without a cache; mend or replace the device, then open the cache again',
          details: { path },
          cause,
        },
      )
      return failure
    },
    track(call) {
      inFlight.add(call)
      const done = (): void => void inFlight.delete(call)
      call.then(done, done)
      return call
    },
    async close() {
      closed = true
      await Promise.allSettled(inFlight)
    },
  }
}
