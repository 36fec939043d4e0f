import { join } from 'node:path'
import { vmsDirectory } from '../vms-directory.js'

/** Files of a VM that runs, below RUN-DIR. */
export interface VmPaths {
  readonly directory: string
  /** Monitor for commands and events: the engine is its one client. */
  readonly monitor: string
  /** Monitor for commands out of band. */
  readonly rescue: string
  /** Where it takes its memory when it is resumed. */
  readonly incoming: string
  /** Holds the id of the process, as QEMU wrote and locked it. */
  readonly pid: string
}

export function vmPaths(runDirectory: string, uuid: string): VmPaths {
  const directory = join(vmsDirectory(runDirectory), uuid)
  return {
    directory,
    monitor: join(directory, 'monitor'),
    rescue: join(directory, 'rescue'),
    incoming: join(directory, 'incoming'),
    pid: join(directory, 'pid'),
  }
}
