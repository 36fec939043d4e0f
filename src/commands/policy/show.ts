import { VmcacheCommand } from '../../cli/base-command.js'
import { policyTargetFlags, requiredPolicyTarget } from '../../cli/policy-target.js'
import { policyTable } from '../../cli/views/policy-view.js'
import type { DiskDocument, PolicyDocument, VmDocument } from '../../protocol/control/documents.js'

type DiskPolicy = Pick<DiskDocument, 'disk' | 'mode' | 'replacement' | 'minBytes' | 'maxBytes' | 'shares' | 'writeBack'>
type VmPolicyInForce = Pick<VmDocument, 'policy' | 'reservation'>

export default class PolicyShow extends VmcacheCommand {
  static override summary =
    'Show what is wanted of a disk, a VM, a cache or the host, where that is set, and what is in force.'
  static override description =
    'What a disk does not have set is that of its VM, else of its cache, else of its host, else the default; what a VM does not have set ' +
    'is that of its host. Of a cache and the host the settings of disks are those that disks inherit, of a VM those that are set of it.'
  static override examples = [
    '<%= config.bin %> policy show --disk db01/vda',
    '<%= config.bin %> policy show --vm desk07',
    {
      description: 'What disks have of which nothing is set',
      command: '<%= config.bin %> policy show --host $(hostname)',
    },
  ]
  static override flags = policyTargetFlags

  async run(): Promise<PolicyDocument & (DiskPolicy | VmPolicyInForce | object)> {
    const target = requiredPolicyTarget('policy show', await this.parse(PolicyShow))
    const policy = await this.ask('policy.show', target)
    const result = { ...policy, ...(await this.#ofObject(target)) }
    return this.print(result, (screen) => policyTable(policy, screen))
  }

  /** What the documents of disks and VMs say of it, under the same keys. */
  async #ofObject({
    level,
    name,
  }: Pick<PolicyDocument, 'level' | 'name'>): Promise<DiskPolicy | VmPolicyInForce | object> {
    if (level === 'vm') {
      const { policy, reservation } = await this.ask('vm.show', { name })
      return { policy, reservation }
    }
    if (level !== 'disk') return {}
    const { disk, mode, replacement, minBytes, maxBytes, shares, writeBack } = await this.ask('disk.show', { name })
    return { disk, mode, replacement, minBytes, maxBytes, shares, writeBack }
  }
}
