/** Pages that are written by hand, and what the generated one about the format must not miss. Staleness is documentation.test.ts's. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { DESCRIBED, formatPage } from '../../src/cli/documentation/format-page.js'
import { SAMPLES } from '../unit/format/samples.js'
import { describeWith, pathOf } from '../support/packages.js'
import { run } from '../support/processes.js'
import { ROOT } from '../support/vmcache.js'

const WRITTEN = ['man/vmcache-architecture.7', 'man/vmcache-recovery.7']

describe('vmcache-format(5)', () => {
  test.each(DESCRIBED)('says of $layout.name what every field means, and nothing of others', ({ layout, meanings }) => {
    const named = layout.fields.map(({ name }) => name).filter((name) => name !== 'reserved')
    expect(Object.keys(meanings)).toEqual(named)
    for (const meaning of Object.values(meanings)) expect(meaning).toMatch(/\.$/)
  })

  test('has the place of every field of the bytes that are written', () => {
    const page = formatPage()
    for (const { layout } of DESCRIBED) {
      const written = SAMPLES.some(({ bytes }) => bytes.includes(layout.magic, 0, 'latin1'))
      expect(written, layout.magic).toBe(true)
      for (const { name, offset } of layout.fields.filter(({ name }) => name !== 'reserved'))
        expect(page).toContain(`\\fB${name}\\fR (${offset}: `)
    }
  })
})

describeWith(['groff'], 'groff takes the pages that are written by hand without a warning', () => {
  test.each(WRITTEN)('%s', async (path) => {
    const { code, stdout, stderr } = await run(pathOf('groff'), ['-ww', '-man', '-P-cbu', '-Tutf8', join(ROOT, path)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('SEE ALSO')
  })
})

test('pages that are written by hand name pages that are there', () => {
  for (const path of WRITTEN) {
    const named = [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^\.BR (vmcache\S*) \((\d)\)/gm)]
    for (const [, name, number] of named)
      expect(() => readFileSync(join(ROOT, 'man', `${name!.replaceAll('\\', '')}.${number}`))).not.toThrow()
  }
})

test('the decision table of vmcache-recovery(7) has the rows of the code', () => {
  const page = readFileSync(join(ROOT, 'man', 'vmcache-recovery.7'), 'utf8')
  const code = readFileSync(join(ROOT, 'src', 'engine', 'log', 'recovery.ts'), 'utf8')
  const rows = [...code.matchAll(/^ \* \| (closed|not closed|write-back|any, behind damage)\b[^|]*\|/gm)].map(
    ([, row]) => row!,
  )
  expect(rows).toHaveLength(5)
  const table = page
    .split('.EX')[1]!
    .split('.EE')[0]!
    .trim()
    .split('\n')
    .slice(2)
    .filter((line) => !line.startsWith(' '))
    .map((line) => line.replaceAll('\\-', '-'))
  expect(table.map((line) => line.split(/ {2,}/)[0])).toEqual(rows.map((row) => row.replace('any, behind', 'after')))
})
