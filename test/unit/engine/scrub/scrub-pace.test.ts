import { expect, test } from 'vitest'
import { pauseAfter } from '../../../../src/engine/scrub/scrub-pace.js'

const slice = { milliseconds: 40, bytes: 256 * 1024, isBusy: false, bytesPerSecond: null }

test('half of the time where nobody is served, a tenth beside guests', () => {
  expect(pauseAfter(slice)).toBe(40)
  expect(pauseAfter({ ...slice, isBusy: true })).toBe(360)
})

test('a device that answers at once is left alone for a moment all the same', () => {
  expect(pauseAfter({ ...slice, milliseconds: 0 })).toBe(1)
  expect(pauseAfter({ ...slice, milliseconds: 0.5, isBusy: true })).toBe(20)
})

test('a rate is never exceeded, and makes nobody faster than is polite', () => {
  const rate = 1024 * 1024
  const pause = pauseAfter({ ...slice, bytesPerSecond: rate })
  expect(slice.bytes / ((slice.milliseconds + pause) / 1000)).toBeCloseTo(rate)
  expect(pauseAfter({ ...slice, bytesPerSecond: 1e12 })).toBe(40)
})
