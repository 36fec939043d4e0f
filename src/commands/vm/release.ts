import { ChangeCommand } from '../../cli/base-command.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmRelease extends ChangeCommand {
  static override summary = 'Give domains back to libvirt alone.'
  static override description =
    'Their disks are detached, live where a domain runs; what their origins lack is written first.'
  static override examples = ['<%= config.bin %> vm release web01']
  static override args = vmArguments
  static override flags = vmFlags

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmRelease)
    const request = { ...chosenTargets(args.vm, flags, 'vm'), dryRun: this.options.dryRun }
    return this.change('vm.release', request, ({ results }) => targetsText(results, 'released'))
  }
}
