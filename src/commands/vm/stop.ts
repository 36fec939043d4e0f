import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmStop extends ChangeCommand {
  static override summary = 'Shut VMs down, and write what their origins lack.'
  static override description =
    'The guest is asked to shut down, and waited for. When the command ends the origins are current, and the VMs can be started without vmcache.'
  static override examples = ['<%= config.bin %> vm stop web01', '<%= config.bin %> vm stop --all --force']
  static override args = vmArguments
  static override flags = {
    ...vmFlags,
    force: switchFlag({ summary: 'End them at once, as a power cut would.' }),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmStop)
    const request = { ...chosenTargets(args.vm, flags, 'vm'), force: flags.force, dryRun: this.options.dryRun }
    return this.change('vm.stop', request, ({ results }) => targetsText(results, 'stopped'))
  }
}
