import { VmcacheCommand } from '../../cli/base-command.js'
import { diskTable } from '../../cli/views/disk-view.js'
import type { DiskDocument } from '../../protocol/control/documents.js'

export default class DiskList extends VmcacheCommand {
  static override summary = 'List the disks that are served through the caches of this host.'
  static override examples = [
    '<%= config.bin %> disk list',
    {
      description: 'Disks with dirty data',
      command: "<%= config.bin %> disk list --json | jq -r '.disks[] | select(.dirtyBytes > 0).disk'",
    },
  ]

  async run(): Promise<{ disks: DiskDocument[] }> {
    await this.parse(DiskList)
    const result = await this.ask('disk.list', {})
    return this.print(result, async (screen) => {
      if (result.disks.length === 0) return this.empty('no disks yet: vmcache cache attach CACHE IMAGE')
      const stats = await this.ask('stats.show', { names: [], window: '5m' })
      return diskTable(result.disks, stats.disks, screen)
    })
  }
}
