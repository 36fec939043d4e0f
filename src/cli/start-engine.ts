import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { VmcacheError, messageOf } from '../base/errors.js'
import type { Directories } from '../model/configuration.js'
import { startInBackground, type StartOptions } from '../protocol/control/start-engine.js'
import { UNIT_FILE, UNIT_NAME } from './install/service-unit.js'

/**
 * Starts the engine, through systemd where its unit is installed and this is the machine's engine, else in the background.
 * Ends when the engine answers.
 */
export async function startEngine(directories: Directories, options: StartOptions): Promise<void> {
  const isUnits = !options.user && options.configFile === null && directories.runDir === '/run/vmcache'
  if (isUnits && existsSync(UNIT_FILE) && existsSync('/run/systemd/system')) await systemctl('start')
  await startInBackground(directories, options)
}

/** `systemctl VERB` for the engine's unit; ENGINE_START_FAILED with its words where it fails. */
export async function systemctl(verb: 'start' | 'stop'): Promise<void> {
  try {
    await promisify(execFile)('systemctl', [verb, UNIT_NAME])
  } catch (error) {
    const words = (error as { stderr?: string }).stderr?.trim() || messageOf(error)
    throw new VmcacheError('ENGINE_START_FAILED', `systemctl ${verb} ${UNIT_NAME}: ${words}`, {
      hint: `journalctl -u ${UNIT_NAME} says more`,
      cause: error,
    })
  }
}
