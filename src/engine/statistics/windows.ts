import type { Clock } from '../../base/clock.js'
import type { StatsWindow } from '../../protocol/control/documents.js'
import { type DiskCounters, difference, sumOf } from './disk-counters.js'

/** What was counted in the last `seconds`. */
export interface CountedSpan {
  readonly seconds: number
  readonly counters: DiskCounters
}

/** The state of the counters at one time. */
export interface Sample {
  /** Monotonic milliseconds. */
  readonly at: number
  readonly counters: DiskCounters
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** Call {@link DiskWindows.sample} this often. */
export const SAMPLE_MILLISECONDS = MINUTE / 2

/** How far back a window reaches, and how far apart the samples in it are kept: a span is longer than its window by that at most. */
const WINDOWS: readonly { window: StatsWindow; reach: number; apart: number }[] = [
  { window: '5m', reach: 5 * MINUTE, apart: MINUTE / 2 },
  { window: '1h', reach: HOUR, apart: 5 * MINUTE },
  { window: '24h', reach: 24 * HOUR, apart: HOUR },
]
/** What the ages above add up to, with the odd sample at each border: half a megabyte for a busy disk. */
export const MOST_SAMPLES = 64

/**
 * Windows over the counters of one disk: samples that are thinned out as they age. The samples of an idle disk share one
 * copy. Counters of several threads are taken together.
 */
export class DiskWindows {
  /** Oldest first. */
  readonly #samples: Sample[] = []
  readonly #startedAt: number

  constructor(
    readonly counters: readonly DiskCounters[],
    readonly clock: Clock,
  ) {
    this.#startedAt = clock.monotonic()
    this.sample()
  }

  get samples(): readonly Sample[] {
    return this.#samples
  }

  sample(): void {
    const now = sumOf(this.counters)
    const last = this.#samples.at(-1)
    const idle = last !== undefined && now.numbers.every((number, place) => number === last.counters.numbers[place])
    this.#samples.push({ at: this.clock.monotonic(), counters: idle ? last.counters : now })
    this.#thin()
  }

  /** A disk that is younger than the window is told from its start; `seconds` says how long the span really is. */
  over(window: StatsWindow): CountedSpan {
    const now = this.clock.monotonic()
    const counters = sumOf(this.counters)
    const reach = WINDOWS.find((known) => known.window === window)?.reach
    if (reach === undefined) return { seconds: (now - this.#startedAt) / 1000, counters }
    const from = this.#samples.findLast((sample) => now - sample.at >= reach) ?? this.#samples[0]!
    return { seconds: (now - from.at) / 1000, counters: difference(counters, from.counters) }
  }

  /** Drops each sample whose neighbours are near enough for its age, and all but one beyond the longest window. */
  #thin(): void {
    const now = this.#samples.at(-1)!.at
    for (let index = this.#samples.length - 2; index > 0; index--) {
      const age = now - this.#samples[index]!.at
      // A window needs its spacing at its far end too, where spans begin.
      const apart = WINDOWS.find((window) => age < window.reach + 2 * window.apart)?.apart
      if (apart === undefined) {
        this.#samples.splice(0, index)
        return
      }
      // Half a period more: a timer that fires a little late must not keep every sample.
      const gap = this.#samples[index + 1]!.at - this.#samples[index - 1]!.at
      if (gap <= apart + SAMPLE_MILLISECONDS / 2) this.#samples.splice(index, 1)
    }
  }
}
