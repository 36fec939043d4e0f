import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { diskProperties } from '../../cli/views/disk-view.js'
import type { DiskDocument } from '../../protocol/control/documents.js'

export default class DiskShow extends VmcacheCommand {
  static override summary = 'Show one disk: where it is served, what is cached, and why it is in its state.'
  static override examples = [
    '<%= config.bin %> disk show web01/vda',
    { description: 'The URI for an NBD client', command: '<%= config.bin %> disk show web01/vda --json | jq -r .uri' },
  ]
  static override args = { disk: requiredArgument('Name of the disk.') }

  async run(): Promise<DiskDocument> {
    const { args } = await this.parse(DiskShow)
    const disk = await this.ask('disk.show', { name: args.disk })
    return this.print(disk, (screen) => diskProperties(disk, screen))
  }
}
