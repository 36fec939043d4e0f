import { string } from '@oclif/core/flags'
import { VmcacheCommand } from '../../cli/base-command.js'
import { diskPolicy } from '../../cli/views/disk-view.js'
import type { DiskDocument } from '../../protocol/control/documents.js'

type DiskPolicy = Pick<DiskDocument, 'disk' | 'mode' | 'replacement' | 'minBytes' | 'maxBytes' | 'shares' | 'writeBack'>

export default class PolicyShow extends VmcacheCommand {
  static override summary = 'Show how a disk is to be cached, and what is in force.'
  static override examples = ['<%= config.bin %> policy show --disk db01/vda']
  static override flags = {
    disk: string({ summary: 'Name of the disk.', helpValue: 'DISK', required: true }),
  }

  async run(): Promise<DiskPolicy> {
    const { flags } = await this.parse(PolicyShow)
    const disk = await this.ask('disk.show', { name: flags.disk })
    const { disk: name, mode, replacement, minBytes, maxBytes, shares, writeBack } = disk
    const policy = { disk: name, mode, replacement, minBytes, maxBytes, shares, writeBack }
    return this.print(policy, (screen) => diskPolicy(policy, screen))
  }
}
