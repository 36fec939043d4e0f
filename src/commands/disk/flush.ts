import { ChangeCommand } from '../../cli/base-command.js'
import { targetFlags, targetsArgument } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { ChangeResult, JobDocument, TargetResult } from '../../protocol/control/documents.js'

export default class DiskFlush extends ChangeCommand {
  static override summary = 'Write what the origins still lack; afterwards they are current.'
  static override examples = [
    '<%= config.bin %> disk flush web01/vda "db*"',
    { description: 'Before a backup made on the storage', command: '<%= config.bin %> disk flush --all --timeout 10m' },
  ]
  static override args = { disk: targetsArgument('Names or quoted globs of disks.') }
  static override flags = { ...targetFlags }

  async run(): Promise<(ChangeResult & { results: TargetResult[] }) | JobDocument> {
    const { args, flags } = await this.parse(DiskFlush)
    const request = { ...chosenTargets(args.disk, flags, 'disk'), dryRun: this.options.dryRun }
    return this.change('disk.flush', request, ({ results }) => targetsText(results, 'flushed'))
  }
}
