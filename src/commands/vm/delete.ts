import { ChangeCommand } from '../../cli/base-command.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmDelete extends ChangeCommand {
  static override summary = 'Forget VMs that vmcache defined, and that are off; their disks stay.'
  static override description =
    'Disks that are attached have to be detached first. A domain of libvirt is let go of with \"vm release\".'
  static override examples = ['<%= config.bin %> vm delete web01']
  static override args = vmArguments
  static override flags = vmFlags

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmDelete)
    const request = { ...chosenTargets(args.vm, flags, 'vm'), dryRun: this.options.dryRun }
    return this.change('vm.delete', request, ({ results }) => targetsText(results, 'deleted'))
  }
}
