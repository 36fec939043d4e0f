/**
 * The bytes of one instance of each structure. They change only with a new version of the format, and then the old ones stay, as
 * fixtures that are still read.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { SAMPLES } from '../unit/format/samples.js'

describe.each(SAMPLES)('$name', ({ name, bytes, decode, values }) => {
  const path = join(import.meta.dirname, 'format', `${name}.hex`)

  test('is written as it always was', () => {
    expect(hexText(bytes)).toBe(readFileSync(path, 'utf8'))
  })

  test('is read as it always was', () => {
    expect(decode(bytesOf(readFileSync(path, 'utf8')))).toMatchObject(values as object)
  })
})

/** Lines of offset and 16 bytes, as hexdump(1) writes them: rows that repeat are one `*`, the last line is the length. */
function hexText(bytes: Buffer): string {
  const lines: string[] = []
  let previous = ''
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => hex(byte, 2)).join(' ')
    if (row !== previous) lines.push(`${hex(at)}  ${row}`)
    else if (lines.at(-1) !== '*') lines.push('*')
    previous = row
  }
  return `${[...lines, hex(bytes.length)].join('\n')}\n`
}

function bytesOf(text: string): Buffer {
  const lines = text.trimEnd().split('\n')
  const bytes = Buffer.alloc(parseInt(lines.at(-1)!, 16))
  lines.forEach((line, index) => {
    const [offset, row] = line.split('  ')
    if (row === undefined) return
    const at = parseInt(offset!, 16)
    const end = lines[index + 1] === '*' ? parseInt(lines[index + 2]!, 16) : at + 16
    bytes.fill(Buffer.from(row.replaceAll(' ', ''), 'hex'), at, end)
  })
  return bytes
}

function hex(value: number, digits = 6): string {
  return value.toString(16).padStart(digits, '0')
}
