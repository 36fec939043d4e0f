/** cli/wizard/: the questions of commands that were called without their arguments. Asked on standard error. */
import { messageOf } from '../../base/errors.js'
import { parseSize } from '../../base/units.js'

/** Where questions go: standard output is for results. */
export const ON_STDERR = { output: process.stderr }

/** For the `validate` of a question: true, or what is wrong. */
export function validated(check: (text: string) => unknown): (text: string) => true | string {
  return (text) => {
    try {
      check(text.trim())
      return true
    } catch (error) {
      return messageOf(error)
    }
  }
}

/** Asks for a size. */
export async function askSize(message: string, initial: string): Promise<number> {
  const { input } = await import('@inquirer/prompts')
  const text = await input({ message, default: initial, validate: validated(parseSize) }, ON_STDERR)
  return parseSize(text.trim())
}

/** Seconds as they are typed: `90m`; exact. */
export function typedDuration(seconds: number): string {
  const [size, unit] = DURATIONS.find(([size]) => seconds >= size && seconds % size === 0) ?? [1, 's']
  return `${seconds / size}${unit}`
}

const DURATIONS: readonly [seconds: number, unit: string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'm'],
]

/** Bytes as they are typed: `16m`; exact. */
export function typedSize(bytes: number): string {
  for (const [power, unit] of ['t', 'g', 'm', 'k'].entries()) {
    const size = 1024 ** (4 - power)
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`
  }
  return String(bytes)
}
