import { createLogger } from '../base/logger.js'
import type { LoadedConfiguration } from '../daemon/load-configuration.js'
import { runSupervisor } from '../daemon/supervisor.js'
import type { GlobalOptions } from './global-options.js'
import { leaveInterruption } from './interruption.js'

/** Runs supervisor and engine until they are told to end. */
export async function runInForeground(options: GlobalOptions, configuration: LoadedConfiguration): Promise<void> {
  leaveInterruption()
  const { configurationFile, stateDirectory, runDirectory, user } = options
  const given = { config: configurationFile, 'state-dir': stateDirectory, 'run-dir': runDirectory }
  const flags = Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== null),
  )
  await runSupervisor({ flags, user }, configuration, createLogger({ level: 'info', part: 'supervisor' }))
}
