import { systemClock } from '../base/clock.js'
import { messageOf } from '../base/errors.js'
import { createLogger, type Logger } from '../base/logger.js'
import { systemRandom } from '../base/random.js'
import { openEngine } from '../engine/io-engine.js'
import { loadConfiguration } from './load-configuration.js'
import { logCrashes } from './log-crashes.js'
import { runEngine, type RunningProcess } from './run-engine.js'
import { linkToSupervisor } from './supervisor-link.js'

/**
 * The engine process, started by the supervisor and closed when it says so. It exits with 0 only after everything was closed;
 * any other end is a kill to the next engine, and loses nothing.
 */
process.title = 'vmcache-engine'

const BEAT_MILLISECONDS = 1000

const link = linkToSupervisor({
  onStop: (isLast) => void stop(isLast),
  // Sockets and locks went with the supervisor: another engine may start now, so not one more write.
  onGone: () => process.kill(process.pid, 'SIGKILL'),
})
process.on('SIGTERM', () => void stop(false))
process.on('SIGINT', () => void stop(false))

let logger: Logger = createLogger({ level: 'info', part: 'engine' })
logCrashes(logger, (reason) => link.say({ say: 'failed', reason }))

const engine = start()
let running: RunningProcess | undefined
engine.then(
  (runs) => {
    running = runs
    link.say({ say: 'running' })
  },
  (error: unknown) => {
    logger.error({ err: error }, `the engine does not start: ${messageOf(error)}`)
    end(1, messageOf(error))
  },
)

async function start(): Promise<RunningProcess> {
  const { flags, previousEnd, user, withoutCaches } = await link.started
  const load = () => loadConfiguration({ flags, user, environment: process.env })
  const configuration = await load()
  logger = createLogger({ level: configuration.values['log-level'], part: 'engine' })
  return runEngine({
    configuration,
    reload: load,
    user,
    previousEnd,
    withoutCaches,
    link,
    openEngine,
    clock: systemClock,
    random: systemRandom,
    logger,
  })
}

let isStopping = false

const [yes, no] = [() => true, () => false]

/** As long as it is well, the supervisor hears of it. */
async function beat(): Promise<void> {
  const answers = isStopping || running === undefined || (await running.responds().then(yes, no))
  if (answers) link.say({ say: 'alive' })
  setTimeout(() => void beat(), BEAT_MILLISECONDS).unref()
}

async function stop(isLast: boolean): Promise<void> {
  if (isStopping) return
  isStopping = true
  try {
    await (await engine).close({ isLast })
    end(0)
  } catch (error) {
    logger.error({ err: error }, `the engine does not close: ${messageOf(error)}`)
    end(1, messageOf(error))
  }
}

/** Exits after the supervisor was told why. */
function end(code: number, reason?: string): void {
  if (reason !== undefined) link.say({ say: 'failed', reason })
  link.close(() => process.exit(code))
}

void beat()
