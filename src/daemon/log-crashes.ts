import { messageOf } from '../base/errors.js'
import type { Logger } from '../base/logger.js'

/** Ends the process with its reason in the log when something is thrown that nobody expected. */
export function logCrashes(logger: Logger, onCrash: (reason: string) => void = () => undefined): void {
  const crash = (error: unknown): never => {
    logger.error({ err: error }, `crashed: ${messageOf(error)}`)
    onCrash(messageOf(error))
    process.exit(70)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
}
