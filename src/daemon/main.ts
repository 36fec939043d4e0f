/**
 * daemon/: the processes of an engine. The *supervisor* (this entry) outlives engines and owns sockets and locks; the *engine
 * process* (engine-main.ts) serves the control API and runs operations and the data plane. A *job* is a change
 * that somebody asked for; a *tenure* is the time of one engine process.
 */
import { messageOf, VmcacheError } from '../base/errors.js'
import { createLogger } from '../base/logger.js'
import { daemonArguments } from './daemon-arguments.js'
import { loadConfiguration } from './load-configuration.js'
import { logCrashes } from './log-crashes.js'
import { runSupervisor } from './supervisor.js'

process.title = 'vmcache-supervisor'
const logger = createLogger({ level: 'info', part: 'supervisor' })
logCrashes(logger)

try {
  const args = daemonArguments(process.argv.slice(2), process.env)
  const configuration = await loadConfiguration({ ...args, environment: process.env })
  await runSupervisor(args, configuration, logger)
} catch (error) {
  // Whoever started us reads the last line of the log.
  if (error instanceof VmcacheError) logger.error({ code: error.code, hint: error.hint ?? undefined }, error.message)
  else logger.error({ err: error }, messageOf(error))
  process.exitCode = error instanceof VmcacheError ? error.exit : 1
}
