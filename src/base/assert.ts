/**
 * base/: what every layer may use and what knows nothing of vmcache: assertions, errors and their codes, units,
 * checksums, clocks, random numbers, system calls and the logger.
 *
 * Assertions stay on in production. They guard invariants of our own code; what comes from outside (a user, a
 * socket, a device) is checked with errors of errors.ts instead.
 */

/** A broken invariant of vmcache itself: a bug, never a user's mistake. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Throws {@link AssertionError} with `message` unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}
