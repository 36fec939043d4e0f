import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a directory and those above it, where they are missing; true where the directory itself was made. Unlike mkdir with
 * `recursive`, which tries for ever where the kernel refuses with ENOENT (below /proc), it ends with that error.
 */
export function makeDirectories(path: string, mode = 0o777): boolean {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return false
  if (dirname(path) !== path) makeDirectories(dirname(path), mode)
  mkdirSync(path, mode)
  return true
}
