import { expect, test } from 'vitest'
import { nextTime } from '../../../src/operations/schedule.js'

const next = (expression: string, after: string, timeZone: string | null = 'UTC'): string | null => {
  const at = nextTime({ expression, timeZone }, Date.parse(after))
  return at === null ? null : new Date(at).toISOString()
}

test.each([
  ['30 7 * * 1-5', '2026-11-20T07:29:59Z', 'UTC', '2026-11-20T07:30:00.000Z'],
  ['30 7 * * 1-5', '2026-11-20T07:30:00Z', 'UTC', '2026-11-23T07:30:00.000Z'],
  ['0 22 * * *', '2026-07-01T12:00:00Z', 'Europe/Berlin', '2026-07-01T20:00:00.000Z'],
  ['0 22 * * *', '2026-12-01T12:00:00Z', 'Europe/Berlin', '2026-12-01T21:00:00.000Z'],
  ['*/15 * * * *', '2026-01-01T00:01:00Z', 'UTC', '2026-01-01T00:15:00.000Z'],
  // An hour that is not there in spring, and one that is there twice in autumn: once each.
  ['30 2 29 3 *', '2026-03-01T00:00:00Z', 'Europe/Berlin', '2026-03-29T01:00:00.000Z'],
  ['30 2 25 10 *', '2026-10-01T00:00:00Z', 'Europe/Berlin', '2026-10-25T00:30:00.000Z'],
  ['0 0 30 2 *', '2026-01-01T00:00:00Z', 'UTC', null],
])('%s after %s in %s', (expression, after, timeZone, expected) => {
  expect(next(expression, after, timeZone)).toBe(expected)
})

test.each([
  ['', 'UTC'],
  ['every day', 'UTC'],
  ['* * * *', 'UTC'],
  ['0 0 22 * * *', 'UTC'],
  ['60 * * * *', 'UTC'],
  ['0 22 * * *', 'Europe/Nowhere'],
])('%j in %s is refused', (expression, timeZone) => {
  expect(() => next(expression, '2026-01-01T00:00:00Z', timeZone)).toThrowError(
    expect.objectContaining({ code: 'USAGE' }),
  )
})
