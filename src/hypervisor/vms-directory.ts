import { join } from 'node:path'

/** Holds a directory for each VM that is running, by UUID; those stay there without engine and supervisor. */
export function vmsDirectory(runDirectory: string): string {
  return join(runDirectory, 'vms')
}
