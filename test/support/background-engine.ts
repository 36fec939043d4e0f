import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readSupervisorStatus } from '../../src/protocol/control/supervisor-status.js'
import { until } from './processes.js'

/** SIGKILL to the engine that the command line of `directory` started, and waits for the one that its supervisor starts. */
export async function killEngine(directory: string): Promise<void> {
  const runDir = join(directory, 'run')
  const pid = readSupervisorStatus(runDir)!.engine.pid!
  process.kill(pid, 'SIGKILL')
  await until('the next engine', () => {
    const engine = readSupervisorStatus(runDir)?.engine
    return engine?.state === 'running' && engine.pid !== pid
  }).catch(async (error: unknown) => {
    throw new Error(`${String(error)}; the end of its log:\n${await endOfLog(directory)}`)
  })
}

/** SIGKILL to supervisor and engine, as if their unit was killed. */
export async function killSupervisor(directory: string): Promise<void> {
  const { pid, engine } = readSupervisorStatus(join(directory, 'run'))!
  for (const process of [pid, engine.pid]) if (process !== null) signal(process, 'SIGKILL')
  await until('the end of the engine', () => !signal(engine.pid!, 0))
}

async function endOfLog(directory: string): Promise<string> {
  const log = await readFile(join(directory, 'state', 'log'), 'utf8').catch(String)
  return log.trimEnd().split('\n').slice(-20).join('\n')
}

/** SIGTERM, which closes everything in order; SIGKILL to both where that takes too long. */
export async function endSupervisor(directory: string): Promise<void> {
  const status = readSupervisorStatus(join(directory, 'run'))
  if (status === null) return
  const { pid, engine } = status
  signal(pid, 'SIGTERM')
  await until('the end of the supervisor', () => !signal(pid, 0), 10_000).catch(() => {
    for (const process of [pid, engine.pid]) if (process !== null) signal(process, 'SIGKILL')
  })
}

/** Whether the process was there. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}
