import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import type { Device } from '../device/device.js'
import { interrupted } from './checkpoint-socket.js'

/** How long a storage may take for one call. */
const CALL_MILLISECONDS = 60_000

export interface WatchedCalls {
  /** The same device. */
  readonly device: Device
  /** Another call of the same storage. */
  timed(call: Promise<void>): Promise<void>
  /**
   * What `work` comes to, but no longer than any of the calls may take and until `signal` is raised: FAILED, INTERRUPTED. A call that hangs
   * may end later, and then `work` does: memory that it uses is its own until then.
   */
  unlessHung<Result>(work: Promise<Result>): Promise<Result>
}

/** Notices calls of a device that hang, as those of a storage on a network may do for hours. */
export function watchCalls(device: Device, clock: Clock, signal: AbortSignal): WatchedCalls {
  let fail: (error: VmcacheError) => void = () => undefined
  const hung = new Promise<never>((_, reject) => (fail = reject))
  // Nobody may wait for it now.
  hung.catch(() => undefined)
  const abort = (): void => fail(interrupted('it was cancelled'))
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()

  function timed(call: Promise<void>): Promise<void> {
    const cancel = clock.after(CALL_MILLISECONDS, () => {
      const words = `${device.path} does not answer for ${CALL_MILLISECONDS / 1000} s`
      fail(new VmcacheError('FAILED', words, { hint: 'see whether its storage is there' }))
    })
    return call.finally(cancel)
  }

  return {
    timed,
    device: {
      ...device,
      read: (...args) => timed(device.read(...args)),
      write: (...args) => timed(Promise.resolve(device.write(...args))),
      commit: (ranges) => timed(device.commit(ranges)),
      async close() {
        signal.removeEventListener('abort', abort)
        await device.close()
      },
    },
    unlessHung: (work) => Promise.race([work, hung]),
  }
}
