import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { vmText } from '../../cli/views/vm-view.js'
import type { VmDocument } from '../../protocol/control/documents.js'

export default class VmShow extends VmcacheCommand {
  static override summary = 'Show one VM: its state, where the requests of its disks go, and why.'
  static override examples = ['<%= config.bin %> vm show web01']
  static override args = { vm: requiredArgument('Name or UUID of the VM.') }

  async run(): Promise<VmDocument> {
    const { args } = await this.parse(VmShow)
    const vm = await this.ask('vm.show', { name: args.vm })
    return this.print(vm, (screen) => vmText(vm, screen))
  }
}
