import { ChangeCommand } from '../../cli/base-command.js'
import { targetFlags, targetsArgument } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { ChangeResult, JobDocument, TargetResult } from '../../protocol/control/documents.js'

export default class DiskInvalidate extends ChangeCommand {
  static override summary = 'Forget the clean pages of disks, so that they are read from the origins again.'
  static override examples = [
    '<%= config.bin %> disk invalidate web01/vda "db*"',
    {
      description: 'After an image was changed behind the back of vmcache',
      command: '<%= config.bin %> disk invalidate web01/vda',
    },
  ]
  static override args = { disk: targetsArgument('Names or quoted globs of disks.') }
  static override flags = { ...targetFlags }

  async run(): Promise<(ChangeResult & { results: TargetResult[] }) | JobDocument> {
    const { args, flags } = await this.parse(DiskInvalidate)
    const request = { ...chosenTargets(args.disk, flags, 'disk'), dryRun: this.options.dryRun }
    return this.change('disk.invalidate', request, ({ results }) => targetsText(results, 'invalidated'))
  }
}
