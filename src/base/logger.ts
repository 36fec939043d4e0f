import { destination, pino } from 'pino'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Writes lines of what happened: `fields` are for programs, `message` is for people. An error goes under `err`. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** A logger whose lines all carry `fields`. */
  child(fields: object): Logger
}

/**
 * A logger of JSON lines. Every process and thread of an engine writes to the same standard error, a line per write, so
 * lines never mix and the last words before a crash are there.
 */
export function createLogger(options: { level: LogLevel; part: string; descriptor?: number }): Logger {
  return pino(
    {
      level: options.level,
      base: { part: options.part, pid: process.pid },
      timestamp: () => `,"at":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ fd: options.descriptor ?? 2, sync: true }),
  )
}

/** Says nothing. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
}
