import { VmcacheCommand } from '../../cli/base-command.js'
import { policiesTable } from '../../cli/views/policy-view.js'
import type { SetPolicyDocument } from '../../protocol/control/documents.js'

export default class PolicyList extends VmcacheCommand {
  static override summary = 'List what is set of the host, of caches, VMs and disks.'
  static override description = 'All else is inherited, or the default: vmcache policy show.'
  static override examples = [
    '<%= config.bin %> policy list',
    {
      description: 'Disks that have a mode of their own',
      command: `<%= config.bin %> policy list --json | jq -r '.policies[] | select(.level == "disk" and .settings.mode).name'`,
    },
  ]

  async run(): Promise<{ policies: SetPolicyDocument[] }> {
    await this.parse(PolicyList)
    const result = await this.ask('policy.list', {})
    return this.print(result, (screen) =>
      result.policies.length === 0
        ? this.empty('nothing is set: all is as default')
        : policiesTable(result.policies, screen),
    )
  }
}
