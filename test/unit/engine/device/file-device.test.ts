import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mergeRanges } from '../../../../src/engine/device/file-device.js'

describe('mergeRanges', () => {
  it('joins what touches or overlaps, in order', () => {
    expect(mergeRanges([])).toEqual([])
    expect(
      mergeRanges([
        { offset: 8192, length: 4096 },
        { offset: 0, length: 4096 },
        { offset: 4096, length: 512 },
        { offset: 8704, length: 512 },
        { offset: 12288, length: 512 },
      ]),
    ).toEqual([
      { offset: 0, length: 4608 },
      { offset: 8192, length: 4608 },
    ])
  })

  it('covers the same sectors with gaps between the ranges', () => {
    const range = fc.record({ offset: fc.nat(60), length: fc.integer({ min: 1, max: 8 }) })
    const sectorsOf = (ranges: readonly { offset: number; length: number }[]): number[] =>
      [...new Set(ranges.flatMap(({ offset, length }) => Array.from({ length }, (_, index) => offset + index)))].sort(
        (left, right) => left - right,
      )
    fc.assert(
      fc.property(fc.array(range), (ranges) => {
        const merged = mergeRanges(ranges)
        expect(sectorsOf(merged)).toEqual(sectorsOf(ranges))
        for (let index = 1; index < merged.length; index++) {
          const before = merged[index - 1]!
          expect(before.offset + before.length).toBeLessThan(merged[index]!.offset)
        }
      }),
    )
  })
})
