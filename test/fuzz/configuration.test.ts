/** The parser of configuration files: any text is a configuration or an error of one line that names the place. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { VmcacheError } from '../../src/base/errors.js'
import { parseConfiguration } from '../../src/daemon/load-configuration.js'
import { CONFIGURATION_KEYS } from '../../src/model/configuration.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/configuration.test.ts`

const key = fc.constantFrom(...Object.keys(CONFIGURATION_KEYS), 'x', '&a')
const line = fc.oneof(
  fc.string(),
  fc.tuple(key, fc.string()).map(([name, value]) => `${name}: ${value}`),
  fc.constantFrom('? [a]', '&x', '*x', '---', '...', '%YAML 1.2', '<<: *x', '!!binary x', '\t', 'a: {', '- - -'),
)

test('any text is a configuration or a BAD_CONFIG of one line', async () => {
  const property = fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
    const error: unknown = await parseConfiguration(lines.join('\n'), '/c').then(
      () => null,
      (thrown: unknown) => thrown,
    )
    if (error === null) return
    expect(error).toBeInstanceOf(VmcacheError)
    expect((error as VmcacheError).code).toBe('BAD_CONFIG')
    expect((error as VmcacheError).message).toMatch(/^file \/c( line \d+)?: [^\n\r]+$/)
  })
  const result = await fc.check(property, { seed, numRuns: 2000 })
  expect(result.failed, `${fc.defaultReportMessage(result)}\n${repeat}`).toBe(false)
})
