import { option } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { targetFlags, targetsArgument } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { VmResults } from '../../cli/vm-command.js'
import { CHECKPOINT_DESTINATIONS } from '../../model/checkpoint.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class CheckpointMove extends ChangeCommand {
  static override summary = 'Move the memory of suspended VMs between a cache and storage.'
  static override description =
    'On storage it is a file of checkpoint-dir, a setting of the configuration file, and takes nothing of the cache. It is erased where it was only ' +
    'when it is on stable storage where it is to be, was read back from there, and is on record. A VM is resumed from either.'
  static override examples = [
    '<%= config.bin %> checkpoint move desk07 --to storage',
    { description: 'Back into the cache', command: '<%= config.bin %> checkpoint move desk07 --to local' },
    {
      description: 'Empty the caches of all of them, for example before one is deleted',
      command: '<%= config.bin %> checkpoint move --all --to storage',
    },
  ]
  static override args = { checkpoint: targetsArgument('Names of VMs, ids of checkpoints, or quoted globs.') }
  static override flags = {
    ...targetFlags,
    to: option({
      options: CHECKPOINT_DESTINATIONS,
      summary: 'To a cache of this host (local), or to checkpoint-dir (storage).',
      required: true,
    })(),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(CheckpointMove)
    const request = {
      ...chosenTargets(args.checkpoint, flags, 'checkpoint'),
      to: flags.to,
      dryRun: this.options.dryRun,
    }
    return this.change('checkpoint.move', request, ({ results }) => targetsText(results, `moved to ${flags.to}`))
  }
}
