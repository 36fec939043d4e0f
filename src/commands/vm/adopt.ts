import { string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { requiredTargetsArgument } from '../../cli/flags.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmAdopt extends ChangeCommand {
  static override summary = 'Take over domains of libvirt, so that their disks can be cached.'
  static override description =
    'Nothing of a domain is changed: it keeps its plain disks, and starts without vmcache too. A domain is its UUID; it may be renamed.'
  static override examples = [
    '<%= config.bin %> vm adopt web01 db01',
    {
      description: 'And cache its disks, live where it runs',
      command: '<%= config.bin %> vm adopt web01 && <%= config.bin %> cache attach fast --vm web01',
    },
  ]
  static override args = { domain: requiredTargetsArgument('Names or UUIDs of domains.') }
  static override flags = {
    connect: string({ summary: "URI of libvirt's connection; qemu:///system where not given.", helpValue: 'URI' }),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmAdopt)
    const request = { domains: [...args.domain], connect: flags.connect ?? null, dryRun: this.options.dryRun }
    return this.change('vm.adopt', request, ({ results }) => targetsText(results, 'adopted'))
  }
}
