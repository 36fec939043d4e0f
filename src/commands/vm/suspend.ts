import { option } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { durationFlag } from '../../cli/flags.js'
import { paceFlags, paceOf } from '../../cli/pace-flags.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import { vmArguments, vmFlags, type VmResults } from '../../cli/vm-command.js'
import { CHECKPOINT_DESTINATIONS } from '../../model/checkpoint.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class VmSuspend extends ChangeCommand {
  static override summary =
    'Suspend VMs: their memory goes to the cache, where it is locked, or to storage, and they end.'
  static override description =
    'A VM ends only when its memory is on stable storage and was verified; where anything fails before that, it goes on. Its origins get what they ' +
    'lack first. A VM is idle when it leaves its processor, its disks and its consoles alone: "vm show" says what keeps one awake. Globs, --all and ' +
    '--idle leave out what cannot be suspended, such as VMs with devices of the host and transient domains; one that is named is an error then.'
  static override examples = [
    '<%= config.bin %> vm suspend desk07',
    {
      description: 'For cron: every VM that has been idle for an hour, at most 20 in an hour, one after the other',
      command: '<%= config.bin %> vm suspend --all --idle 1h --rate 20/h --at-once 1',
    },
    {
      description: 'What that would do now',
      command: '<%= config.bin %> vm suspend --all --idle 1h --dry-run',
    },
  ]
  static override args = vmArguments
  static override flags = {
    ...vmFlags,
    idle: durationFlag({ summary: 'Only those that have been idle for so long.' }),
    ...paceFlags,
    to: option({
      options: CHECKPOINT_DESTINATIONS,
      summary:
        'Their memory goes to a cache of this host (local, where not given), or to a file of checkpoint-dir (storage).',
    })(),
  }

  async run(): Promise<VmResults | JobDocument> {
    const { args, flags } = await this.parse(VmSuspend)
    const request = {
      ...chosenTargets(args.vm, flags, 'vm'),
      idleSeconds: flags.idle ?? null,
      ...paceOf(flags),
      ...(flags.to === undefined ? {} : { to: flags.to }),
      dryRun: this.options.dryRun,
    }
    return this.change('vm.suspend', request, ({ results }) => targetsText(results, 'suspended'))
  }
}
