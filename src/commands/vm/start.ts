import { boolean } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmStart extends ChangeCommand {
  static override summary = 'Start VMs through the cache.'
  static override description =
    'Attached disks are served from the first instruction of the guest on. One that cannot be served now runs on its own storage, and is put through the cache as soon as it can be. ' +
    'Where a cache has no room for the min of a disk, its VM is not started (exit code 5): only what runs is promised anything.'
  static override examples = ['<%= config.bin %> vm start web01', '<%= config.bin %> vm start "web*"']
  static override args = vmArguments
  static override flags = {
    ...vmFlags,
    'best-effort': boolean({
      summary: 'Start them also where a cache has no room for what their disks are promised (--min).',
    }),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmStart)
    const request = {
      ...chosenTargets(args.vm, flags, 'vm'),
      bestEffort: flags['best-effort'],
      dryRun: this.options.dryRun,
    }
    return this.change('vm.start', request, ({ results }) => targetsText(results, 'started'))
  }
}
