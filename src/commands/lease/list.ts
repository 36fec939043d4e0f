import { VmcacheCommand } from '../../cli/base-command.js'
import { leaseTable } from '../../cli/views/lease-view.js'
import type { LeaseDocument } from '../../protocol/control/documents.js'

export default class LeaseList extends VmcacheCommand {
  static override summary = 'List who may write which origin: all hosts that share the state database.'
  static override examples = [
    '<%= config.bin %> lease list',
    {
      description: 'Origins that lack writes',
      command: "<%= config.bin %> lease list --json | jq -r '.leases[] | select(.lacksWrites).origin'",
    },
  ]

  async run(): Promise<{ leases: LeaseDocument[] }> {
    await this.parse(LeaseList)
    const result = await this.ask('lease.list', {})
    return this.print(result, (screen) =>
      result.leases.length === 0
        ? this.empty('no leases yet: vmcache cache attach CACHE IMAGE')
        : leaseTable(result.leases, screen),
    )
  }
}
