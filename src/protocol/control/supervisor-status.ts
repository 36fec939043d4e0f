import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRunning } from '../../base/system-calls.js'

/**
 * What the supervisor says of itself in RUN-DIR/supervisor.json: there is an answer while no engine runs, and after one that
 * could not start.
 */
export interface SupervisorStatus {
  readonly pid: number
  readonly startedAt: string
  readonly engine: {
    /** `waiting`: for the next try after a failure; `held`: stopped until somebody starts it (SIGUSR2). */
    readonly state: 'starting' | 'running' | 'stopping' | 'waiting' | 'held'
    readonly pid: number | null
    /** Engines that ended too soon, one after the other. */
    readonly failures: number
    readonly lastEnd: { readonly at: string; readonly reason: string } | null
  }
}

export function supervisorStatusPath(runDir: string): string {
  return join(runDir, 'supervisor.json')
}

/** The status of the supervisor of `runDir`; null where none runs or it cannot be read. */
export function readSupervisorStatus(runDir: string): SupervisorStatus | null {
  try {
    const status = JSON.parse(readFileSync(supervisorStatusPath(runDir), 'utf8')) as SupervisorStatus
    return isRunning(status.pid) ? status : null
  } catch {
    return null
  }
}
