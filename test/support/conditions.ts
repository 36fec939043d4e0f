import { spawnSync } from 'node:child_process'
import { describe, test } from 'vitest'

/** Why this machine cannot do a test, in a few words; null where it can. */
export type Reason = string | null

export const whyNotRoot: Reason = process.getuid?.() === 0 ? null : 'needs root'
export const whyRoot: Reason = process.getuid?.() === 0 ? 'root may do everything' : null

/** Why nothing can be mounted here: root in a container may lack the capability. */
export function whyNoMounts(): Reason {
  return (
    whyNotRoot ??
    (succeeds('unshare', '--mount', '--propagation', 'unchanged', 'true') ? null : 'needs root that may mount')
  )
}

/** Why there are no mounts that only some processes see: in a chroot the root directory need not be a mount point. */
export function whyNoPrivateMounts(): Reason {
  return (
    whyNoMounts() ??
    (succeeds('unshare', '--mount', '--propagation', 'private', 'true') ? null : 'needs a root that is a mount point')
  )
}

function succeeds(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0
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
