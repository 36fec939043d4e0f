/** Parsers of sizes, durations and percentages against a model: any text is a number that the model agrees with, or an expected error. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VmcacheError } from '../../src/base/errors.js'
import { formatSize, parseDuration, parsePercent, parseSize } from '../../src/base/units.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/units.test.ts`

function holds<T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => void): void {
  fc.assert(
    fc.property(arbitrary, (value) => void property(value)),
    {
      seed,
      numRuns: 2000,
      reporter: (run) => {
        if (run.failed) throw new Error(`${fc.defaultReportMessage(run)}\n${repeat}`, { cause: run.errorInstance })
      },
    },
  )
}

const number = fc.oneof(fc.nat(), fc.maxSafeNat())
/** Texts that are close to right: digits of many kinds, signs, points, units. */
const near = fc.string({ unit: fc.constantFrom(...'0123456789kmgtKMGTiIbBsShHdD%.,-+_exX \n\t٣৪５'), maxLength: 12 })
const any = fc.oneof(near, fc.string(), fc.string({ unit: 'binary' }))

/** The value, or the code of the expected error; what else is thrown is a bug. */
function outcome(parse: (text: string) => number, text: string): number | string {
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof VmcacheError)) throw error
    expect(error.message).not.toMatch(/[\n\r\t]/)
    expect(error.message.length).toBeLessThan(250)
    return error.code
  }
}

/** Reads digit by digit with big integers: shares nothing with the regular expressions under test. */
function model(text: string, units: ReadonlyMap<string, bigint>, limit: bigint, code: string): number | string {
  let digits = 0
  let value = 0n
  while (digits < text.length && '0123456789'.includes(text[digits]!)) value = value * 10n + BigInt(text[digits++]!)
  const unit = units.get(text.slice(digits))
  if (digits === 0 || unit === undefined || (digits > 1 && text[0] === '0')) return code
  return value * unit <= limit ? Number(value * unit) : code
}

const SIZE_UNITS = new Map([['', 1n]])
for (const [power, letter] of [...'kmgt'].entries()) {
  for (const l of [letter, letter.toUpperCase()]) {
    for (const suffix of ['', 'ib', 'iB', 'Ib', 'IB']) SIZE_UNITS.set(l + suffix, 1024n ** BigInt(power + 1))
  }
}
const DURATION_UNITS = new Map([
  ['s', 1n],
  ['m', 60n],
  ['h', 3600n],
  ['d', 86_400n],
])
const LARGEST = BigInt(Number.MAX_SAFE_INTEGER)

describe('units', () => {
  it('parseSize agrees with the model on any text', () => {
    holds(any, (text) => expect(outcome(parseSize, text)).toBe(model(text, SIZE_UNITS, LARGEST, 'BAD_SIZE')))
    holds(fc.tuple(number, fc.constantFrom(...SIZE_UNITS.keys())), ([value, unit]) =>
      expect(outcome(parseSize, value + unit)).toBe(model(value + unit, SIZE_UNITS, LARGEST, 'BAD_SIZE')),
    )
  })

  it('parseDuration agrees with the model on any text', () => {
    const limit = LARGEST / 1000n
    holds(any, (text) => expect(outcome(parseDuration, text)).toBe(model(text, DURATION_UNITS, limit, 'BAD_DURATION')))
    holds(fc.tuple(number, fc.constantFrom(...DURATION_UNITS.keys())), ([value, unit]) =>
      expect(outcome(parseDuration, value + unit)).toBe(model(value + unit, DURATION_UNITS, limit, 'BAD_DURATION')),
    )
  })

  it('parsePercent agrees with the model on any text', () => {
    holds(any, (text) => {
      const percent = model(text, new Map([['%', 1n]]), 100n, 'USAGE')
      expect(outcome(parsePercent, text)).toBe(typeof percent === 'number' ? percent / 100 : percent)
    })
  })

  it('formatSize is short, never off by more than a twentieth, and never has 1024 of a unit', () => {
    holds(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      const [value, unit] = formatSize(bytes).split(' ')
      const power = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'].indexOf(unit!)
      expect(formatSize(bytes).length).toBeLessThanOrEqual(7)
      expect(Number(value)).toBeLessThan(1024)
      expect(Math.abs((Number(value) * 1024 ** power) / bytes - 1)).toBeLessThan(0.05)
    })
  })
})
