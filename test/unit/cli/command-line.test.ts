import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { commandLine } from '../../../src/cli/command-line.js'

test('plain words are not quoted', () => {
  expect(commandLine(['cache', 'create', 'fast', '--device', '/dev/nvme1n1,size=10g'])).toBe(
    'vmcache cache create fast --device /dev/nvme1n1,size=10g',
  )
})

test('a shell takes the line apart into the same words', () => {
  const words = ['a b', "it's", '$HOME', '`id`', '*', '', 'new\nline', '"', '\\', '&&']
  const script = `vmcache() { printf '%s\\0' "$@"; }; ${commandLine(words)}`
  expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1)).toEqual(words)
})
