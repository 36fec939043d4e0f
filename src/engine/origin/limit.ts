import { endsWithin } from './calls.js'
import { OriginError, type Origin } from './origin.js'

/**
 * At most `callsInFlight` calls to an origin at a time; further ones wait in order. An origin that hangs then holds no more
 * than so many threads of the pool: its size (UV_THREADPOOL_SIZE, set when the engine starts) is their sum over
 * all disks and some more for the devices.
 */
export function limitOrigin(origin: Origin, callsInFlight: number): Origin {
  const waiting: { start: () => void; refuse: (error: OriginError) => void }[] = []
  let running = 0
  let whenIdle: (() => void) | undefined
  let closed = false

  async function run<T>(call: () => Promise<T>): Promise<T> {
    if (closed) throw shutDown()
    if (running < callsInFlight) running++
    else await new Promise<void>((start, refuse) => waiting.push({ start, refuse }))
    try {
      return await call()
    } finally {
      const next = waiting.shift()
      if (next !== undefined) next.start()
      else if (--running === 0) whenIdle?.()
    }
  }

  const shutDown = (): OriginError => new OriginError(`origin ${origin.description.uri} is closed`, 'ESHUTDOWN')

  return {
    description: origin.description,
    get session() {
      return origin.session
    },
    read: (offset, target) => run(() => origin.read(offset, target)),
    write: (offset, data) => run(() => origin.write(offset, data)),
    flush: () => run(() => origin.flush()),
    trim: (offset, length) => run(() => origin.trim(offset, length)),
    zero: (offset, length, options) => run(() => origin.zero(offset, length, options)),
    allocation: (offset, length) => run(() => origin.allocation(offset, length)),
    async close(timeoutMilliseconds) {
      closed = true
      const idle = running === 0 ? Promise.resolve() : new Promise<void>((resolve) => (whenIdle = resolve))
      await endsWithin(idle, timeoutMilliseconds)
      for (const { refuse } of waiting.splice(0)) refuse(shutDown())
      // What has not come back by now is hung: the origin need not wait for it again.
      await origin.close(running === 0 ? timeoutMilliseconds : 0)
    },
  }
}
