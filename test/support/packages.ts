import { describe, test } from 'vitest'
import { findProgram } from './programs.js'
import programs from './programs.json' with { type: 'json' }

/** A foreign program that tests use; the Debian package that brings it stands in programs.json. */
export type Program = keyof typeof programs

/** Absolute path of a program that {@link describeWith} has found. */
export function pathOf(program: Program): string {
  const path = findProgram(program)
  if (path === null) throw new Error(whyMissing(program))
  return path
}

/** Why something cannot be tested here, or null where all of `needed` is installed. */
export function missing(needed: readonly Program[]): string | null {
  const absent = needed.filter((program) => findProgram(program) === null)
  return absent.length === 0 ? null : absent.map(whyMissing).join('; ')
}

/**
 * A suite that needs foreign programs: skipped with the reason where one is missing, failed with it where CI is set.
 * `why` is a further reason that the caller found (null: none).
 */
export function describeWith(
  needed: readonly Program[],
  name: string,
  body: () => void,
  why: string | null = null,
): void {
  const reason = missing(needed) ?? why
  if (reason === null) describe(name, body)
  else skippedOrFailed(name, reason)
}

/** The same for a single test. */
export function testWith(
  needed: readonly Program[],
  name: string,
  body: () => unknown,
  timeoutMilliseconds?: number,
): void {
  const reason = missing(needed)
  if (reason === null) test(name, async () => void (await body()), timeoutMilliseconds)
  else skippedOrFailed(name, reason)
}

function skippedOrFailed(name: string, reason: string): void {
  test(name, (context) => {
    if (process.env['CI'] === 'true') throw new Error(reason)
    context.skip(reason)
  })
}

function whyMissing(program: Program): string {
  return `${program} is not installed (package ${programs[program].package})`
}
