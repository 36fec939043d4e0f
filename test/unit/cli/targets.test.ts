import { expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { chosenTargets, errorOfTargets } from '../../../src/cli/targets.js'
import type { TargetResult } from '../../../src/protocol/control/documents.js'

const well = (name: string): TargetResult => ({ name, ok: true, changed: true, error: null })
const badly = (name: string, code: 'IN_USE' | 'WRONG_STATE' | 'ORIGIN_FAILED'): TargetResult => ({
  name,
  ok: false,
  changed: false,
  error: new VmcacheError(code, `${name} failed`).toDocument(),
})

test('names, or all but some', () => {
  expect(chosenTargets(['a', 'b*'], { all: false }, 'disk')).toEqual({ names: ['a', 'b*'], all: false, exclude: [] })
  expect(chosenTargets(undefined, { all: true, exclude: ['c'] }, 'disk')).toEqual({
    names: [],
    all: true,
    exclude: ['c'],
  })
})

test('nothing, and everything at once, are usage errors', () => {
  expect(() => chosenTargets([], { all: false }, 'disk')).toThrow(/which disk/)
  expect(() => chosenTargets(['a'], { all: true }, 'disk')).toThrow(/do not go together/)
})

test('no failure is no error', () => {
  expect(errorOfTargets([])).toBeNull()
  expect(errorOfTargets([well('a'), well('b')])).toBeNull()
})

test('one target that failed is its own error', () => {
  expect(errorOfTargets([badly('a', 'IN_USE')])).toMatchObject({ code: 'IN_USE', exit: 4, message: 'a failed' })
})

test('some that failed are partial', () => {
  expect(errorOfTargets([well('a'), badly('b', 'IN_USE')])).toMatchObject({
    code: 'PARTIAL',
    exit: 8,
    details: { failed: ['b'] },
  })
  expect(errorOfTargets([badly('a', 'IN_USE'), badly('b', 'ORIGIN_FAILED')])).toMatchObject({ exit: 8 })
})

test('all that failed alike give that exit code', () => {
  expect(errorOfTargets([badly('a', 'IN_USE'), badly('b', 'WRONG_STATE')])).toMatchObject({ exit: 4 })
})
