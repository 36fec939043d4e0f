import { resolve } from 'node:path'
import { string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import type { ChangeResult } from '../../protocol/control/documents.js'

export default class EngineUninstall extends ChangeCommand {
  static override summary = 'Stop the engine and remove its service from this machine (offline).'
  static override description =
    'Units, libvirt hook, group and directories of sockets go; caches, disks and the state directory stay. Asks first; --yes answers.'
  static override examples = ['<%= config.bin %> engine uninstall', '<%= config.bin %> engine uninstall --dry-run']
  static override flags = {
    root: string({ summary: 'Only remove the files below this directory, of another system.', helpValue: 'DIR' }),
  }

  async run(): Promise<ChangeResult> {
    const { flags } = await this.parse(EngineUninstall)
    const { THIS_MACHINE, applySteps, uninstallSteps, thisProgram } = await import('../../daemon/install.js')
    const options = { ...THIS_MACHINE, root: resolve(flags.root ?? THIS_MACHINE.root) }
    const { values } = await this.engine.configuration()
    const planned = await uninstallSteps(options, thisProgram(values['state-dir']))
    const steps = planned.map(({ text }) => text)
    const { dryRun } = this.options
    if (steps.length > 0) await this.confirm('Stop the engine and remove its service?')
    if (!dryRun) await applySteps(planned)
    this.say(steps.length === 0 ? 'nothing is installed' : 'uninstalled')
    return this.print({ changed: steps.length > 0, ...(dryRun ? { dryRun } : {}), steps }, () => steps.join('\n'))
  }
}
