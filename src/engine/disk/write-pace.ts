import type { Clock } from '../../base/clock.js'
import type { DirtyLimits } from './dirty-limits.js'

/** Writers are slowed from this part of the high limit on. */
const SLOW_FROM = 0.75
/** No write waits longer for the pace alone; at the limit itself it waits for room. */
const LONGEST_WAIT_MILLISECONDS = 500

/**
 * Slows writers smoothly as the dirty limit nears, so that they come to run at the origin's speed before they would have to stop:
 * from three quarters of the limit on the admitted rate falls from any to none, and is the origin's own half-way.
 */
export class WritePace {
  /** When the next write may go on (monotonic milliseconds). */
  #freeAt = 0
  readonly #waiting: (() => void)[] = []
  #released = false

  constructor(
    readonly clock: Clock,
    readonly limits: () => DirtyLimits,
    /** Bytes that are dirty, and bytes a second that the origin takes. */
    readonly state: () => { readonly dirtyBytes: number; readonly bytesPerSecond: number },
    /** Called when a write is made to wait. */
    readonly onWait: () => void,
  ) {}

  /** Below it no write waits. */
  slowFromBytes({ highBytes }: DirtyLimits): number {
    return highBytes * SLOW_FROM
  }

  /** Undefined where a write of `bytes` may go on at once; else ends when it may. */
  admit(bytes: number): Promise<void> | undefined {
    const { highBytes } = this.limits()
    const { dirtyBytes, bytesPerSecond } = this.state()
    const slowFrom = this.slowFromBytes(this.limits())
    if (dirtyBytes < slowFrom) return undefined
    this.onWait()
    if (dirtyBytes >= highBytes) return this.#room()
    const admittedPerSecond = (bytesPerSecond * (highBytes - dirtyBytes)) / (dirtyBytes - slowFrom + 1)
    const now = this.clock.monotonic()
    const freeAt = Math.max(now, this.#freeAt)
    const wait = Math.min(freeAt - now, LONGEST_WAIT_MILLISECONDS)
    this.#freeAt = Math.min(freeAt + (bytes / admittedPerSecond) * 1000, now + LONGEST_WAIT_MILLISECONDS)
    if (wait < 1) return undefined
    return new Promise((resolve) => this.clock.after(wait, resolve))
  }

  async #room(): Promise<void> {
    while (!this.#released && this.state().dirtyBytes >= this.limits().highBytes)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Something is not dirty any more: writes that waited for room go on, in order, as far as there is some. */
  eased(): void {
    if (this.#waiting.length === 0 || this.state().dirtyBytes >= this.limits().highBytes) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** The limits count again. */
  resume(): void {
    this.#released = false
  }

  /** Nobody waits for room: the disk drains, leaves write-back, or has failed. */
  release(): void {
    this.#released = true
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
