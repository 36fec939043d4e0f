import { expect, test } from 'vitest'
import { partsOf } from '../../../../src/engine/pool/parts.js'

test('each disk has what it is promised, and its share of the rest', () => {
  expect(
    partsOf(
      [
        { minimum: 0, shares: 100 },
        { minimum: 20, shares: 300 },
      ],
      68,
    ),
  ).toEqual([8 + 10, 20 + 30])
})

test('together they never have more than there is', () => {
  for (let chunks = 24; chunks < 200; chunks += 7) {
    const parts = partsOf(
      [1, 10, 1000].map((shares) => ({ minimum: 0, shares })),
      chunks,
    )!
    expect(parts.reduce((sum, part) => sum + part)).toBeLessThanOrEqual(chunks)
    expect(Math.min(...parts)).toBeGreaterThanOrEqual(8)
  }
})

test('undefined where what is promised is not there', () => {
  expect(partsOf([{ minimum: 9, shares: 1 }], 8)).toBeUndefined()
  expect(partsOf([], 0)).toEqual([])
})
