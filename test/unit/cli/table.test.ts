import { expect, test } from 'vitest'
import { PLAIN, loadPaint } from '../../../src/cli/paint.js'
import { renderProperties, renderTable, type Column } from '../../../src/cli/table.js'

interface Row {
  readonly name: string
  readonly size: string
  readonly note: string
}

const rows: Row[] = [
  { name: 'a', size: '1 GB', note: 'short' },
  { name: 'bbbbbbbb', size: '120 MB', note: 'a rather long note that is cut' },
]
const columns: Column<Row>[] = [
  { head: 'NAME', value: ({ name }) => name },
  { head: 'SIZE', value: ({ size }) => size, spare: 1 },
  { head: 'NOTE', value: ({ note }) => note, cutTo: 8 },
]
const screen = (width: number | null) => ({ width, paint: PLAIN, now: 0 })

test('columns are as wide as their widest value, two spaces apart, and no line ends in spaces', async () => {
  expect((await renderTable(columns, rows, screen(null))).split('\n')).toEqual([
    'NAME      SIZE    NOTE',
    'a         1 GB    short',
    'bbbbbbbb  120 MB  a rather long note that is cut',
  ])
})

test('a column that may be cut is cut before the line is too long', async () => {
  const lines = (await renderTable(columns, rows, screen(40))).split('\n')
  expect(lines[2]).toBe('bbbbbbbb  120 MB  a rather long note th…')
  expect(Math.max(...lines.map(({ length }) => length))).toBe(40)
})

test('columns that are spare go where cutting is not enough, and are named', async () => {
  expect((await renderTable(columns, rows, screen(22))).split('\n')).toEqual([
    'NAME      NOTE',
    'a         short',
    'bbbbbbbb  a rather lo…',
    '(not shown here: SIZE; --json has all)',
  ])
})

test('what ends in what matters loses its start', async () => {
  const paths: Column<Row>[] = [{ head: 'PATH', value: () => '/dev/disk/by-id/nvme-A', cutTo: 8, cutFrom: 'start' }]
  expect(await renderTable(paths, rows.slice(0, 1), screen(10))).toBe('PATH\n…id/nvme-A')
})

test('what may neither go nor be cut stays whole on the smallest screen', async () => {
  expect(await renderTable(columns, rows, screen(1))).toContain('bbbbbbbb')
})

test('colours do not count as width', async () => {
  const paint = await loadPaint(true)
  const coloured: Column<Row>[] = [
    { head: 'NAME', value: ({ name }) => paint.bad(name) },
    { head: 'SIZE', value: ({ size }) => size },
  ]
  const table = await renderTable(coloured, rows, { width: 16, paint, now: 0 })
  expect(table).toContain('\u001b[31ma\u001b[39m         1 GB')
  expect(table).not.toContain('…')
})

test('properties are aligned, and those without a value are left out', () => {
  const text = renderProperties(
    [
      ['disk', 'web01'],
      ['reason', null],
      ['replacement', 'lru'],
    ],
    screen(null),
  )
  expect(text).toBe('disk         web01\nreplacement  lru')
})
