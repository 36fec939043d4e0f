import { option } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { requiredArgument, switchFlag } from '../../cli/flags.js'
import { resolvedText } from '../../cli/views/disk-view.js'
import { DISK_PARTS } from '../../model/write-back.js'
import type { ChangeResult, JobDocument, ResolvedDisk } from '../../protocol/control/documents.js'
import type { RequestOf } from '../../protocol/control/routes.js'

export default class DiskResolve extends ChangeCommand {
  static override summary = 'Let a disk go on that waits because its cache and its origin do not fit together.'
  static override description =
    'A disk waits where its cache holds writes that the origin lacks, and somebody else wrote the origin meanwhile, or a part of ' +
    'those writes cannot be read. --keep cache writes all that can be read to the origin, over what is there, and names what cannot. ' +
    '--keep origin leaves the origin as it is: that loses the writes, so it is refused (7) without --discard-dirty. The disk ' +
    'then goes on with an empty cache.'
  static override examples = [
    {
      description: 'What each of them would do',
      command: '<%= config.bin %> disk resolve db01/vda --keep cache --dry-run',
    },
    '<%= config.bin %> disk resolve db01/vda --keep cache',
    '<%= config.bin %> disk resolve db01/vda --keep origin --discard-dirty',
  ]
  static override args = { disk: requiredArgument('Name of the disk.') }
  static override flags = {
    keep: option({ options: DISK_PARTS, summary: 'What the disk goes on from.', required: true })(),
    'discard-dirty': switchFlag({ summary: 'Lose what the origin still lacks.' }),
  }

  async run(): Promise<(ChangeResult & ResolvedDisk) | JobDocument> {
    const { args, flags } = await this.parse(DiskResolve)
    const request = {
      name: args.disk,
      keep: flags.keep,
      discardDirty: flags['discard-dirty'],
      dryRun: this.options.dryRun,
    }
    if (request.keep === 'origin' && request.discardDirty) this.announce(await this.#lost(request))
    return this.change('disk.resolve', request, (result) => resolvedText(result))
  }

  /** What --discard-dirty gives up, in words; null where nothing is. */
  async #lost(request: RequestOf<'disk.resolve'>): Promise<string | null> {
    const { result } = await this.engine.change('disk.resolve', { ...request, dryRun: true })
    return result?.steps?.find((step) => step.startsWith('lose '))?.replace(/^lose /, 'discarding ') ?? null
  }
}
