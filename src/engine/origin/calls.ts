import { OriginError } from './origin.js'
import { originCallError } from './origin-failure.js'

/** The calls to one origin that are in flight: their errors, and the wait for their end. */
export interface Calls {
  /** Runs a call; fails with ESHUTDOWN after `close`. */
  run<T>(action: string, call: () => Promise<T>): Promise<T>
  /**
   * Refuses further calls, and ends when those in flight have, and `release` has. After `timeoutMilliseconds` it ends all the
   * same: what still hangs is left to itself and releases when it comes back.
   */
  close(timeoutMilliseconds: number, release: () => Promise<void>): Promise<void>
}

export function createCalls(path: string): Calls {
  const inFlight = new Set<Promise<unknown>>()
  let closed = false

  return {
    async run(action, call) {
      if (closed) throw new OriginError(`origin ${path}: cannot ${action}: it is closed`, 'ESHUTDOWN')
      const running = call()
      inFlight.add(running)
      try {
        return await running
      } catch (error) {
        throw originCallError(path, action, error)
      } finally {
        inFlight.delete(running)
      }
    },
    async close(timeoutMilliseconds, release) {
      if (closed) return
      closed = true
      const released = Promise.allSettled(inFlight).then(release)
      await endsWithin(released, timeoutMilliseconds)
    },
  }
}

/** Ends with `promise`, or after a time, whichever comes first. */
export async function endsWithin(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds)
  })
  await Promise.race([promise, timeout]).finally(() => clearTimeout(timer))
}
