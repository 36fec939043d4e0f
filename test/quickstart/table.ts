/** Columns aligned by their widest cell: the first to the left, numbers to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  '),
    )
    .join('\n')
}

/** Two digits are as many as a latency deserves. */
export function latency(microseconds: number): string {
  const [value, unit] = microseconds < 1000 ? [microseconds, 'us'] : [microseconds / 1000, 'ms']
  return `${Number(value.toPrecision(2))} ${unit}`
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
