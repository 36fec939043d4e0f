import type { Origin, OriginError } from '../../src/engine/origin/origin.js'

export type OriginCall = 'read' | 'write' | 'flush' | 'trim' | 'zero' | 'allocation'

/** What a test does to the calls of an origin, from now on. */
export interface FaultyOrigin extends Origin {
  /** Every call of these kinds fails, or works again with null. A failed flush ends the session, as a real one does. */
  fail(calls: readonly OriginCall[], error: OriginError | null): void
  /** Every call takes this much longer. */
  delay(milliseconds: number): void
  /** Calls hang, those that come later too, until the returned function lets them go on. */
  hang(): () => void
  /** How many calls are in flight at the origin, and how many there were at most. */
  readonly inFlight: { now: number; most: number }
}

/** An origin with planted faults: it fails, is slow, or hangs on command, and does to the data what the real one does. */
export function faultyOrigin(origin: Origin): FaultyOrigin {
  const failures = new Map<OriginCall, OriginError>()
  const inFlight = { now: 0, most: 0 }
  let delayMilliseconds = 0
  let hanging: Promise<void> | undefined
  let lostSessions = 0

  async function run<T>(name: OriginCall, call: () => Promise<T>): Promise<T> {
    inFlight.most = Math.max(inFlight.most, ++inFlight.now)
    try {
      while (hanging !== undefined) await hanging
      if (delayMilliseconds > 0) await new Promise((resolve) => setTimeout(resolve, delayMilliseconds))
      const failure = failures.get(name)
      if (failure === undefined) return await call()
      if (name === 'flush') lostSessions++
      throw failure
    } finally {
      inFlight.now--
    }
  }

  return {
    description: origin.description,
    get session() {
      return origin.session + lostSessions
    },
    inFlight,
    fail(calls, error) {
      for (const call of calls) {
        if (error === null) failures.delete(call)
        else failures.set(call, error)
      }
    },
    delay(milliseconds) {
      delayMilliseconds = milliseconds
    },
    hang() {
      let release = (): void => {}
      hanging = new Promise((resolve) => {
        release = () => {
          hanging = undefined
          resolve()
        }
      })
      return release
    },
    read: (offset, target) => run('read', () => origin.read(offset, target)),
    write: (offset, data) => run('write', () => origin.write(offset, data)),
    flush: () => run('flush', () => origin.flush()),
    trim: (offset, length) => run('trim', () => origin.trim(offset, length)),
    zero: (offset, length, options) => run('zero', () => origin.zero(offset, length, options)),
    allocation: (offset, length) => run('allocation', () => origin.allocation(offset, length)),
    close: (timeoutMilliseconds) => origin.close(timeoutMilliseconds),
  }
}
