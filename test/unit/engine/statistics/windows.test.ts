import { describe, expect, it } from 'vitest'
import type { Clock } from '../../../../src/base/clock.js'
import { COUNTER, DiskCounters } from '../../../../src/engine/statistics/disk-counters.js'
import { DiskWindows, MOST_SAMPLES, SAMPLE_MILLISECONDS } from '../../../../src/engine/statistics/windows.js'

class HandClock implements Clock {
  milliseconds = 1e6
  now = (): number => this.milliseconds
  monotonic = (): number => this.milliseconds
  after(): () => void {
    throw new Error('windows set no timers')
  }
}

/** One read a second, sampled in time but for `lateMilliseconds`, for that long. */
function run(seconds: number, lateMilliseconds: (sample: number) => number = () => 0) {
  const clock = new HandClock()
  const counters = DiskCounters.create()
  const windows = new DiskWindows([counters], clock)
  const period = SAMPLE_MILLISECONDS / 1000
  let mostSamples = 0
  const step = (by: number): void => {
    clock.milliseconds += by * 1000
    counters.add(COUNTER.reads, by)
  }
  for (let at = 0, sample = 0; at + period <= seconds; at += period, sample++) {
    const late = lateMilliseconds(sample) / 1000
    step(late)
    windows.sample()
    step(period - late)
    mostSamples = Math.max(mostSamples, windows.samples.length)
  }
  return { windows, counters, clock, mostSamples }
}

const REACH = { '5m': 300, '1h': 3600, '24h': 86_400 } as const
const LONGER = { '5m': 60, '1h': 400, '24h': 4500 } as const

describe('DiskWindows', () => {
  it.each(Object.keys(REACH) as (keyof typeof REACH)[])(
    '%s: a span that is as long as it says, and hardly longer than asked',
    (window) => {
      for (const seconds of [90_000, 100_020, 200_010]) {
        const span = run(seconds).windows.over(window)
        expect(span.seconds).toBeGreaterThanOrEqual(REACH[window])
        expect(span.seconds).toBeLessThanOrEqual(REACH[window] + LONGER[window])
        expect(span.counters.get('reads')).toBeCloseTo(span.seconds, 6)
      }
    },
  )

  it('holds that with a timer that fires late by chance', () => {
    const { windows, mostSamples } = run(200_000, (sample) => (sample * 7919) % 4000)
    for (const window of Object.keys(REACH) as (keyof typeof REACH)[]) {
      const span = windows.over(window)
      expect(span.seconds).toBeGreaterThanOrEqual(REACH[window])
      expect(span.seconds).toBeLessThanOrEqual(REACH[window] + LONGER[window])
    }
    expect(mostSamples).toBeLessThanOrEqual(MOST_SAMPLES)
  })

  it('all: since the disk was attached', () => {
    const span = run(90_000).windows.over('all')
    expect(span.seconds).toBe(90_000)
    expect(span.counters.get('reads')).toBe(90_000)
  })

  it('tells a young disk from its start', () => {
    const { windows, counters, clock } = run(0)
    clock.milliseconds += 7000
    counters.add(COUNTER.reads, 3)
    for (const window of ['5m', '1h', '24h', 'all'] as const) {
      const span = windows.over(window)
      expect([span.seconds, span.counters.get('reads')]).toEqual([7, 3])
    }
  })

  it('forgets what is older than the window', () => {
    const { windows, clock } = run(3600)
    for (let sample = 0; sample < 12; sample++) {
      clock.milliseconds += SAMPLE_MILLISECONDS
      windows.sample()
    }
    expect(windows.over('5m').counters.get('reads')).toBe(0)
    expect(windows.over('1h').counters.get('reads')).toBeGreaterThan(3000)
  })

  it('keeps a bounded number of samples, and one copy of what does not change', () => {
    expect(run(1_000_000).mostSamples).toBeLessThanOrEqual(MOST_SAMPLES)
    const clock = new HandClock()
    const windows = new DiskWindows([DiskCounters.create()], clock)
    for (let sample = 0; sample < 1000; sample++) {
      clock.milliseconds += SAMPLE_MILLISECONDS
      windows.sample()
    }
    expect(new Set(windows.samples.map(({ counters }) => counters)).size).toBe(1)
  })
})
