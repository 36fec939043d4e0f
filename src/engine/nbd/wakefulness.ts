import { systemClock, type Clock } from '../../base/clock.js'

/**
 * How long a thread stays awake for the next request. To fall asleep and be woken by another processor costs both sides tens of
 * microseconds, most of all in a virtual machine; QEMU's own I/O threads poll for 32 (iothread, poll-max-ns).
 */
const AWAKE_MILLISECONDS = 0.05

/**
 * Keeps the event loop of a thread turning, without a wait, while the next request is likely to come at once: the last one came
 * soon after the answers to the one before. A client that leaves more time between its requests costs nothing. Each turn
 * looks at every socket and timer of the thread, so nobody waits for it.
 */
export class Wakefulness {
  #answeredAt = -Infinity
  #isBrisk = false
  #isAwake = false

  /** `nextTurn` calls back after the event loop has looked at everything once. */
  constructor(
    private readonly clock: Pick<Clock, 'monotonic'>,
    private readonly nextTurn: (callback: () => void) => void,
  ) {}

  /** Requests have come in. */
  received(): void {
    this.#isBrisk = this.#isSoon()
  }

  /** What could be answered of them has been answered. */
  answered(): void {
    this.#answeredAt = this.clock.monotonic()
    if (!this.#isBrisk || this.#isAwake) return
    this.#isAwake = true
    this.nextTurn(this.#stay)
  }

  readonly #stay = (): void => {
    this.#isAwake = this.#isSoon()
    if (this.#isAwake) this.nextTurn(this.#stay)
  }

  #isSoon(): boolean {
    return this.clock.monotonic() - this.#answeredAt < AWAKE_MILLISECONDS
  }
}

/** That of this thread, for all connections on it. */
export const threadWakefulness = new Wakefulness(systemClock, setImmediate)
