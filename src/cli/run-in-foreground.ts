import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Directories } from '../model/configuration.js'
import { leaveInterruption } from './interruption.js'

const DAEMON = fileURLToPath(new URL('../daemon/main.js', import.meta.url))
/** What a service manager or a terminal tells a supervisor. */
const SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const

/** Runs supervisor and engine until they are told to end; their exit code. */
export async function runInForeground(
  { stateDir, runDir }: Directories,
  options: { user: boolean; configFile: string | null },
): Promise<number> {
  const args = [DAEMON, '--state-dir', stateDir, '--run-dir', runDir]
  if (options.user) args.push('--user')
  if (options.configFile !== null) args.push('--config', options.configFile)
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  // The terminal sends Ctrl-C to both.
  leaveInterruption()
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
  const [code] = (await once(child, 'exit')) as [number | null]
  process.off('SIGINT', ignore)
  return code ?? 1
}
