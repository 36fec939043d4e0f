import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { matcher, select } from '../../../src/operations/targets.js'

describe('patterns', () => {
  test.each([
    ['web*', 'web01/vda', true],
    ['*', '', true],
    ['*/vda', 'web01/vda', true],
    ['w?b', 'web', true],
    ['w?b', 'wb', false],
    ['a*b*c', 'aXbYbZc', true],
    ['a*b*c', 'aXbYbZ', false],
    ['web', 'web01', false],
    ['w.b', 'web', false],
    ['w.b*', 'web', false],
    ['[a]*', 'a', false],
  ])('%s fits %s: %s', (pattern, name, fits) => {
    expect(matcher(pattern)(name)).toBe(fits)
  })

  test('no pattern goes back and forth for ever', () => {
    expect(matcher(`${'*a'.repeat(60)}*b`)('a'.repeat(128))).toBe(false)
  })

  test('agree with a regular expression', () => {
    const text = (letters: string) => fc.string({ unit: fc.constantFrom(...letters), maxLength: 8 })
    fc.assert(
      fc.property(text('ab/*?'), text('ab/'), (pattern, name) => {
        const expression = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`)
        expect(matcher(pattern)(name)).toBe(expression.test(name))
      }),
    )
  })
})

test('a selection names each disk once, and each unknown name once', () => {
  const targets = { names: ['b', 'a', 'a*', 'x', 'x', 'y*'], all: false, exclude: ['a2'] }
  expect(select(targets, ['a', 'a2', 'b', 'c'])).toEqual({ names: ['a', 'b'], unknown: ['x'] })
})
