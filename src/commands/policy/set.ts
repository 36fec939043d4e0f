import { string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { diskFlags } from '../../cli/flags.js'
import { missing } from '../../cli/missing.js'
import { maximumBytes, quotaBytes } from '../../cli/quota.js'
import { givenUp, givenWriteBack, writeBackFlags } from '../../cli/write-back-flags.js'
import type { ChangeResult, DiskDocument, JobDocument } from '../../protocol/control/documents.js'
import type { RequestOf } from '../../protocol/control/routes.js'

export default class PolicySet extends ChangeCommand {
  static override summary = 'Change how a disk is cached, while it is in use.'
  static override description =
    'What is not given stays as it is. Out of write-back the disk drains first: it goes on, its writes are answered when the origin ' +
    'has them, and the mode changes when nothing is dirty any more. That can be cancelled (vmcache job cancel).'
  static override examples = [
    '<%= config.bin %> policy set --disk db01/vda --mode write-around',
    '<%= config.bin %> policy set --disk web01 --min 2g --max 20% --shares 200',
    '<%= config.bin %> policy set --disk db01/vda --mode write-back --dirty-high 4g --dirty-age 1m',
  ]
  static override flags = {
    disk: string({ summary: 'Name of the disk.', helpValue: 'DISK', required: true }),
    ...diskFlags,
    ...writeBackFlags,
  }

  async run(): Promise<(ChangeResult & { disk: DiskDocument }) | JobDocument> {
    const { flags } = await this.parse(PolicySet)
    const { disk: name, mode, replacement, min, max, shares } = flags
    const writeBack = givenWriteBack(flags)
    const isEmpty = Object.keys(writeBack).length === 0
    if (isEmpty && [mode, replacement, min, max, shares].every((value) => value === undefined)) {
      throw missing('policy set', ['--mode, --replacement, --min, --max, --shares, --destage ...'])
    }
    const bytesOfCache = async (): Promise<number> => {
      const { cache } = await this.ask('disk.show', { name })
      return (await this.ask('cache.show', { name: cache })).sizeBytes
    }
    const request: RequestOf<'disk.set'> = {
      name,
      ...(mode === undefined ? {} : { mode }),
      ...(replacement === undefined ? {} : { replacement }),
      ...(min === undefined ? {} : { minBytes: await quotaBytes(min, bytesOfCache) }),
      ...(max === undefined ? {} : { maxBytes: await maximumBytes(max, bytesOfCache) }),
      ...(shares === undefined ? {} : { shares }),
      ...(isEmpty ? {} : { writeBack }),
      dryRun: this.options.dryRun,
    }
    this.announce(givenUp(writeBack))
    return this.change('disk.set', request, ({ changed }) => `${name} ${changed ? 'is changed' : 'unchanged'}`)
  }
}
