import { resolve } from 'node:path'
import { string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import type { ChangeResult } from '../../protocol/control/documents.js'

export default class EngineInstall extends ChangeCommand {
  static override summary =
    'Make the engine a service of this machine (offline): units, group, directories, libvirt hook.'
  static override description =
    'What is there already stays; what was changed by hand is put back, so put changes into drop-ins. Starts nothing. ' +
    'The hook, /etc/libvirt/hooks/qemu.d/vmcache, keeps libvirt from starting a virtual machine whose image lacks writes that ' +
    'are still in a cache. It is plain sh: copy it to every host that reaches the storage, also to those without vmcache.'
  static override examples = [
    '<%= config.bin %> engine install && <%= config.bin %> engine start',
    { description: 'What would be done', command: '<%= config.bin %> engine install --dry-run' },
  ]
  static override flags = {
    root: string({ summary: 'Only lay the files down below this directory, for another system.', helpValue: 'DIR' }),
  }

  async run(): Promise<ChangeResult> {
    const { flags } = await this.parse(EngineInstall)
    const { THIS_MACHINE, applySteps, installSteps, thisProgram } = await import('../../daemon/install.js')
    const options = { ...THIS_MACHINE, root: resolve(flags.root ?? THIS_MACHINE.root) }
    const { values } = await this.engine.configuration()
    const planned = await installSteps(options, thisProgram(values['state-dir']))
    const steps = planned.map(({ text }) => text)
    const { dryRun } = this.options
    if (!dryRun) await applySteps(planned)
    this.say(steps.length === 0 ? 'everything is installed already' : 'installed: vmcache engine start starts it')
    return this.print({ changed: steps.length > 0, ...(dryRun ? { dryRun } : {}), steps }, () => steps.join('\n'))
  }
}
