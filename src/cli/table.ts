import { stripVTControlCharacters } from 'node:util'
import type { Screen } from './screen.js'

/** One column of a table of `Row`. */
export interface Column<Row> {
  readonly head: string
  readonly value: (row: Row) => string
  /** Where the screen is too narrow, columns go in the order of this number, highest first; without one a column stays. */
  readonly spare?: number
  /** May be cut to so many characters where the screen is too narrow. */
  readonly cutTo?: number
  /** What goes when it is cut; the end where not given. The end of a path says more than its start. */
  readonly cutFrom?: 'start' | 'end'
}

const GAP = 2

const BORDERS = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
const RULES = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle']
const NO_BORDERS = Object.fromEntries([...BORDERS, ...RULES].map((name) => [name, '']))

/**
 * A table without borders, one line per row. Columns that do not fit on the screen are left out, and named below the
 * table.
 */
export async function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  screen: Screen,
): Promise<string> {
  const cells = columns.map((column) => rows.map((row) => column.value(row)))
  const widths = columns.map((column, index) => Math.max(...[column.head, ...cells[index]!].map(widthOf)))
  const { shown, leftOut } = chooseColumns(columns, widths, screen.width)
  const columnWidths = cutWidths(columns, widths, shown, screen.width)

  const { default: Table } = await import('cli-table3')
  const table = new Table({
    head: shown.map((index) => screen.paint.strong(columns[index]!.head)),
    colWidths: shown.map((index) => columnWidths[index]! + GAP),
    chars: NO_BORDERS,
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': GAP },
  })
  rows.forEach((_, row) =>
    table.push(shown.map((index) => cutStart(columns[index]!, cells[index]![row]!, columnWidths[index]!))),
  )
  const lines = table.toString().split('\n').map(trimEnd)
  if (leftOut.length > 0) {
    lines.push(screen.paint.faint(`(not shown here: ${leftOut.join(', ')}; --json has all)`))
  }
  return lines.join('\n')
}

/** `label  value` lines; a null value is left out. */
export function renderProperties(properties: readonly (readonly [string, string | null])[], screen: Screen): string {
  const present = properties.filter(([, value]) => value !== null)
  const width = Math.max(...present.map(([label]) => label.length))
  return present.map(([label, value]) => `${screen.paint.faint(label.padEnd(width))}  ${value}`).join('\n')
}

function chooseColumns<Row>(
  columns: readonly Column<Row>[],
  widths: readonly number[],
  limit: number | null,
): { shown: number[]; leftOut: string[] } {
  const shown = columns.map((_, index) => index)
  const smallest = (): number =>
    shown.reduce((sum, index) => sum + leastWidth(columns[index]!, widths[index]!), 0) + GAP * (shown.length - 1)
  const spare = shown
    .filter((index) => columns[index]!.spare !== undefined)
    .sort((a, b) => columns[b]!.spare! - columns[a]!.spare!)
  const leftOut = new Set<number>()
  while (limit !== null && smallest() > limit && spare.length > 0) {
    const index = spare.shift()!
    leftOut.add(index)
    shown.splice(shown.indexOf(index), 1)
  }
  return { shown, leftOut: columns.filter((_, index) => leftOut.has(index)).map(({ head }) => head) }
}

/** Takes what is too much from the widest columns that may be cut. */
function cutWidths<Row>(
  columns: readonly Column<Row>[],
  widths: readonly number[],
  shown: readonly number[],
  limit: number | null,
): number[] {
  const result = [...widths]
  const total = (): number => shown.reduce((sum, index) => sum + result[index]!, 0) + GAP * (shown.length - 1)
  while (limit !== null && total() > limit) {
    const widest = shown
      .filter((index) => result[index]! > leastWidth(columns[index]!, result[index]!))
      .sort((a, b) => result[b]! - result[a]!)[0]
    if (widest === undefined) break
    result[widest]!--
  }
  return result
}

function leastWidth<Row>({ cutTo = Infinity }: Column<Row>, width: number): number {
  return Math.min(width, cutTo)
}

/** The cell where its column loses the start of what is too long; the table cuts the end itself. */
function cutStart<Row>({ cutFrom }: Column<Row>, cell: string, width: number): string {
  return cutFrom === 'start' && cell.length > width ? `…${cell.slice(cell.length - width + 1)}` : cell
}

function widthOf(text: string): number {
  return stripVTControlCharacters(text).length
}

/** Without the padding of the last column. */
function trimEnd(line: string): string {
  return line.replace(/ +((?:\u001b\[[0-9;]*m)*)$/, '$1').trimEnd()
}
