import { execFileSync } from 'node:child_process'
import { describe, test } from 'vitest'

/** Why this machine cannot do a test, in a few words; null where it can. */
export type Reason = string | null

export const whyNotRoot: Reason = process.getuid?.() === 0 ? null : 'needs root'
export const whyRoot: Reason = process.getuid?.() === 0 ? 'root may do everything' : null

/** Why nothing can be mounted here: root in a container may lack the capability. */
export function whyNoMounts(): Reason {
  if (whyNotRoot !== null) return whyNotRoot
  try {
    execFileSync('unshare', ['--mount', '--propagation', 'unchanged', 'true'], { stdio: 'ignore' })
    return null
  } catch {
    return 'needs root that may mount'
  }
}

/** A suite that is skipped with the reason where there is one. */
export function describeUnless(reason: Reason, name: string, body: () => void): void {
  if (reason === null) describe(name, body)
  else skipped(reason, name)
}

/** A test that is skipped with the reason where there is one. */
export function testUnless(reason: Reason, name: string, body: () => unknown, timeoutMilliseconds?: number): void {
  if (reason === null) test(name, async () => void (await body()), timeoutMilliseconds)
  else skipped(reason, name)
}

function skipped(reason: string, name: string): void {
  test(name, (context) => context.skip(reason))
}
