import { ChangeCommand } from '../../cli/base-command.js'
import { durationFlag, targetFlags, targetsArgument } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { ChangeResult, JobDocument, TargetResult } from '../../protocol/control/documents.js'

export default class DiskFlush extends ChangeCommand {
  static override summary = 'Write what the origins still lack; afterwards they are current.'
  static override description =
    'A disk goes on meanwhile. Where an origin does not take what it lacks for a minute the command ends with 7. A hold ends by itself, ' +
    'and with the engine: after a restart of it the origins are no longer held.'
  static override examples = [
    '<%= config.bin %> disk flush web01/vda "db*"',
    {
      description: 'Before a backup made on the storage, which takes ten minutes',
      command: '<%= config.bin %> disk flush --all --hold 10m',
    },
  ]
  static override args = { disk: targetsArgument('Names or quoted globs of disks.') }
  static override flags = {
    ...targetFlags,
    hold: durationFlag({
      summary: 'Keep the origins current for so long: writes are answered when the origin has them.',
    }),
  }

  async run(): Promise<(ChangeResult & { results: TargetResult[] }) | JobDocument> {
    const { args, flags } = await this.parse(DiskFlush)
    const request = {
      ...chosenTargets(args.disk, flags, 'disk'),
      ...(flags.hold === undefined ? {} : { holdSeconds: flags.hold }),
      dryRun: this.options.dryRun,
    }
    return this.change('disk.flush', request, ({ results }) => targetsText(results, 'flushed'))
  }
}
