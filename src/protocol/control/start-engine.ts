import { spawn } from 'node:child_process'
import { closeSync, openSync, readSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ERROR_CODES, messageOf, VmcacheError, type ErrorCode } from '../../base/errors.js'
import { makeDirectories } from './make-directories.js'
import type { Directories } from '../../model/configuration.js'
import { controlClient, controlSocketPath } from './control-client.js'
import { readSupervisorStatus } from './supervisor-status.js'

export interface StartOptions {
  /** A private engine (`--user`). */
  readonly user: boolean
  /** Configuration file that was named; null for the standard one. */
  readonly configFile: string | null
  /** How long to wait for the engine's first answer; 15 s where not given. */
  readonly timeoutMilliseconds?: number
}

const START_MILLISECONDS = 15_000
const POLL_MILLISECONDS = 25
/** After so many ends in a row an engine is not going to start. */
const HOPELESS_FAILURES = 3
const MAXIMUM_LOG_BYTES = 16 * 1024 * 1024

const DAEMON = fileURLToPath(new URL('../../daemon/main.js', import.meta.url))

/** Where a supervisor that was started in the background logs to. */
export function logPath(stateDir: string): string {
  return join(stateDir, 'log')
}

/**
 * Starts supervisor and engine in the background, where none run, and waits for the engine's first answer. Throws what
 * kept it from starting (BAD_CONFIG ...), or ENGINE_START_FAILED with the last words of its log.
 */
export async function startInBackground(directories: Directories, options: StartOptions): Promise<void> {
  const { stateDir, runDir } = directories
  const deadline = performance.now() + (options.timeoutMilliseconds ?? START_MILLISECONDS)
  const supervisor = readSupervisorStatus(runDir)
  let ended: () => boolean = () => readSupervisorStatus(runDir) === null
  if (supervisor === null) ended = launch(directories, options)
  else if (supervisor.engine.state === 'held') process.kill(supervisor.pid, 'SIGUSR2')

  const client = controlClient(controlSocketPath(runDir))
  try {
    for (;;) {
      const isLate = performance.now() > deadline
      const state = await client.get('engine.status', {}, { timeoutMilliseconds: 1000 }).then(
        (engine) => engine.state,
        () => null,
      )
      if (state === 'running' || (state === 'starting' && isLate)) return
      const status = readSupervisorStatus(runDir)
      const isHopeless = ended() || (status?.engine.failures ?? 0) >= HOPELESS_FAILURES
      if (isLate || isHopeless) throw startError(logPath(stateDir), status?.engine.lastEnd?.reason)
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS))
    }
  } finally {
    client.close()
  }
}

/** Ends when no supervisor runs in `directories` any more; false where one still does after the time. */
export async function waitUntilStopped(directories: Directories, timeoutMilliseconds: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMilliseconds
  while (readSupervisorStatus(directories.runDir) !== null) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS))
  }
  return true
}

/** Spawns a supervisor that outlives us; the returned function says whether it has ended. */
function launch({ stateDir, runDir }: Directories, options: StartOptions): () => boolean {
  const log = openLog(stateDir)
  const args = [DAEMON, '--state-dir', stateDir, '--run-dir', runDir]
  if (options.user) args.push('--user')
  if (options.configFile !== null) args.push('--config', options.configFile)
  const child = spawn(process.execPath, args, { cwd: '/', detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  child.unref()
  let hasEnded = false
  child.once('exit', () => (hasEnded = true))
  child.once('error', () => (hasEnded = true))
  return () => hasEnded
}

function openLog(stateDir: string): number {
  const path = logPath(stateDir)
  try {
    makeDirectories(stateDir, 0o700)
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > MAXIMUM_LOG_BYTES) renameSync(path, `${path}.1`)
    return openSync(path, 'a', 0o600)
  } catch (error) {
    throw new VmcacheError('ENGINE_START_FAILED', `the engine's log ${path} cannot be written: ${messageOf(error)}`, {
      hint: 'start the engine as root, or a private one with --user',
      cause: error,
    })
  }
}

function startError(log: string, reason: string | undefined): VmcacheError {
  const last = lastLine(log)
  if (last.code !== undefined) {
    return new VmcacheError(last.code, last.message, last.hint === undefined ? {} : { hint: last.hint })
  }
  return new VmcacheError('ENGINE_START_FAILED', `the engine did not start: ${reason ?? last.message}`, {
    hint: `its log is ${log}`,
  })
}

/** The last line of the log: the error that a supervisor which could not start ended with, or plain text. */
function lastLine(path: string): { message: string; code?: ErrorCode; hint?: string } {
  const line = tail(path).trimEnd().split('\n').pop() ?? ''
  try {
    const { msg, code, hint } = JSON.parse(line) as Record<string, unknown>
    const message = typeof msg === 'string' ? msg : line
    if (typeof code !== 'string' || !(code in ERROR_CODES)) return { message }
    return { message, code: code as ErrorCode, ...(typeof hint === 'string' ? { hint } : {}) }
  } catch {
    return { message: line === '' ? 'its log is empty' : line }
  }
}

function tail(path: string): string {
  const bytes = Buffer.alloc(16 * 1024)
  try {
    const log = openSync(path, 'r')
    try {
      const from = Math.max(0, statSync(path).size - bytes.length)
      return bytes.subarray(0, readSync(log, bytes, 0, bytes.length, from)).toString('utf8')
    } finally {
      closeSync(log)
    }
  } catch {
    return ''
  }
}
