import { VmcacheCommand } from '../../cli/base-command.js'
import { vmTable } from '../../cli/views/vm-view.js'
import type { VmDocument } from '../../protocol/control/documents.js'

export default class VmList extends VmcacheCommand {
  static override summary = 'List the VMs that are defined or adopted, and which of their disks are cached.'
  static override examples = [
    '<%= config.bin %> vm list',
    {
      description: 'Running VMs with a disk that is direct',
      command: `<%= config.bin %> vm list --json | jq -r '.vms[] | select(.disks[].path == "direct").name'`,
    },
  ]

  async run(): Promise<{ vms: VmDocument[] }> {
    await this.parse(VmList)
    const result = await this.ask('vm.list', {})
    return this.print(result, async (screen) => {
      if (result.vms.length === 0) return this.empty('no VMs yet: vmcache vm adopt DOMAIN, or vmcache vm define')
      const { disks } = await this.ask('disk.list', {})
      const stats = await this.ask('stats.show', { names: [], window: '5m' })
      return vmTable(result.vms, disks, stats.disks, screen)
    })
  }
}
