import { expect, test } from 'vitest'
import { closest, editDistance } from '../../../src/cli/did-you-mean.js'

test.each([
  ['', '', 0],
  ['cache', 'cache', 0],
  ['cache', '', 5],
  ['cahce', 'cache', 1],
  ['list', 'lst', 1],
  ['disk', 'dusk', 1],
  ['kitten', 'sitting', 3],
])('from %j to %j it is %i steps', (from, to, steps) => {
  expect(editDistance(from, to)).toBe(steps)
  expect(editDistance(to, from)).toBe(steps)
})

test('the nearest candidate is meant, if one is near', () => {
  expect(closest('lst', ['show', 'list', 'delete'])).toBe('list')
  expect(closest('frobnicate', ['show', 'list'])).toBeNull()
  expect(closest('x', [])).toBeNull()
})

test('of two that are as near, letters in the wrong order win', () => {
  expect(closest('stauts', ['stats', 'status'])).toBe('status')
  expect(closest('stauts', ['status', 'stats'])).toBe('status')
})
