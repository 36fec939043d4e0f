import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag, targetFlags, targetsArgument } from '../../cli/flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type { VmResults } from '../../cli/vm-command.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class CheckpointDelete extends ChangeCommand {
  static override summary = 'Lose the memory of suspended VMs; they can be started then.'
  static override description =
    'A checkpoint is the only place where the memory of its VM is, so this is refused without --discard-memory. For its guest it is as a power ' +
    'cut at the time when it was suspended. A checkpoint goes away by itself when its VM is resumed.'
  static override examples = ['<%= config.bin %> checkpoint delete desk07 --discard-memory']
  static override args = { checkpoint: targetsArgument('Names of VMs, ids of checkpoints, or quoted globs.') }
  static override flags = {
    ...targetFlags,
    'discard-memory': switchFlag({ summary: 'Lose the memory of the VMs, which nothing else has.' }),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(CheckpointDelete)
    const request = {
      ...chosenTargets(args.checkpoint, flags, 'checkpoint'),
      discardMemory: flags['discard-memory'],
      dryRun: this.options.dryRun,
    }
    return this.change('checkpoint.delete', request, ({ results }) => targetsText(results, 'deleted'))
  }
}
