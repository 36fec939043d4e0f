import { expect, test } from 'vitest'
import { ChunkColumns } from '../../../../src/engine/index/chunk-columns.js'

test('entries stay as they were added, through growing and trimming', () => {
  const columns = new ChunkColumns()
  const entries = Array.from({ length: 1000 }, (_, index) => ({
    page: Math.imul(index, 0x9e37_79b1) >>> 0,
    checksum: 0xffff_ffff - index,
    unit: 65_535 - index,
    sectorMap: index % 256,
    heat: (index * 7) % 256,
  }))
  const check = (): void => {
    expect(columns.count).toBe(entries.length)
    entries.forEach((entry, ordinal) =>
      expect({
        page: columns.page[ordinal],
        checksum: columns.checksum[ordinal],
        unit: columns.unit[ordinal],
        sectorMap: columns.sectorMap[ordinal],
        heat: columns.heat[ordinal],
      }).toEqual(entry),
    )
  }
  entries.forEach((entry, index) =>
    expect(columns.add(entry.page, entry.checksum, entry.unit, entry.sectorMap, entry.heat, false)).toBe(index),
  )
  check()
  columns.trim()
  check()
  expect(columns.bytes).toBe(1000 * 12 + 125)
})

test('columns without entries can be trimmed, and grow again', () => {
  const columns = new ChunkColumns()
  columns.trim()
  expect(columns.count).toBe(0)
  for (let page = 0; page < 10; page++) columns.add(page, 0, 0, 0xff, 0, false)
  expect([...columns.page.subarray(0, columns.count)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})
