import { string } from '@oclif/core/flags'
import { VmcacheCommand } from '../../cli/base-command.js'
import { missing } from '../../cli/missing.js'
import { diskPolicy } from '../../cli/views/disk-view.js'
import { vmPolicy } from '../../cli/views/vm-view.js'
import type { DiskDocument, VmDocument } from '../../protocol/control/documents.js'

type DiskPolicy = Pick<DiskDocument, 'disk' | 'mode' | 'replacement' | 'minBytes' | 'maxBytes' | 'shares' | 'writeBack'>
type VmPolicyInForce = Pick<VmDocument, 'name' | 'policy' | 'reservation'>

export default class PolicyShow extends VmcacheCommand {
  static override summary = 'Show how a disk is to be cached, or what is wanted of a VM, and what is in force.'
  static override examples = [
    '<%= config.bin %> policy show --disk db01/vda',
    '<%= config.bin %> policy show --vm desk07',
  ]
  static override flags = {
    disk: string({ summary: 'Name of the disk.', helpValue: 'DISK' }),
    vm: string({ summary: 'Name or UUID of the VM.', helpValue: 'VM', exclusive: ['disk'] }),
  }

  async run(): Promise<DiskPolicy | VmPolicyInForce> {
    const { flags } = await this.parse(PolicyShow)
    if (flags.vm !== undefined) {
      const { name, policy, reservation } = await this.ask('vm.show', { name: flags.vm })
      return this.print({ name, policy, reservation }, (screen) => vmPolicy({ name, policy, reservation }, screen))
    }
    if (flags.disk === undefined) throw missing('policy show', ['--disk or --vm'])
    const disk = await this.ask('disk.show', { name: flags.disk })
    const { disk: name, mode, replacement, minBytes, maxBytes, shares, writeBack } = disk
    const policy = { disk: name, mode, replacement, minBytes, maxBytes, shares, writeBack }
    return this.print(policy, (screen) => diskPolicy(policy, screen))
  }
}
