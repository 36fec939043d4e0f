import { ChangeCommand } from '../../cli/base-command.js'
import { paceFlags, paceOf } from '../../cli/pace-flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmResume extends ChangeCommand {
  static override summary = 'Let suspended VMs go on where they were.'
  static override description =
    'Their disks go through the cache again. Before a VM is touched its memory is verified, wherever it is, and its disks are compared with what ' +
    'they were: it is never resumed twice, nor against a disk that was written since. The clock of a guest in which the agent of QEMU runs is set; ' +
    'that of others stands where it stood.'
  static override examples = [
    '<%= config.bin %> vm resume desk07',
    { description: 'All of them, two at a time', command: '<%= config.bin %> vm resume --all --at-once 2' },
  ]
  static override args = vmArguments
  static override flags = { ...vmFlags, ...paceFlags }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmResume)
    const request = { ...chosenTargets(args.vm, flags, 'vm'), ...paceOf(flags), dryRun: this.options.dryRun }
    return this.change('vm.resume', request, ({ results }) => targetsText(results, 'resumed'))
  }
}
