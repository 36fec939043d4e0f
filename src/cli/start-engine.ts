import { existsSync } from 'node:fs'
import { VmcacheError } from '../base/errors.js'
import { ENGINE_UNIT } from '../daemon/service-files.js'
import type { Directories } from '../model/configuration.js'
import { startInBackground, type StartOptions } from '../protocol/control/start-engine.js'

/**
 * Starts the engine: through systemd where its unit is installed and nothing but the machine's engine is meant, else in
 * the background. Ends when the engine answers.
 */
export async function startEngine(directories: Directories, options: StartOptions): Promise<void> {
  const isService = !options.user && options.configFile === null && directories.runDir === '/run/vmcache'
  const isInstalled = existsSync(`/etc/systemd/system/${ENGINE_UNIT}`) && existsSync('/run/systemd/system')
  if (isService && isInstalled) await startService()
  else await startInBackground(directories, options)
}

async function startService(): Promise<void> {
  const { execa } = await import('execa')
  const { failed, stderr, shortMessage } = await execa('systemctl', ['start', ENGINE_UNIT], { reject: false })
  if (!failed) return
  const words = stderr === '' ? shortMessage : stderr.replaceAll('\n', ' ')
  throw new VmcacheError('ENGINE_START_FAILED', `systemctl start ${ENGINE_UNIT}: ${words}`, {
    hint: 'journalctl -u vmcache-supervisor says more',
  })
}
