import { string } from '@oclif/core/flags'
import { resolve } from 'node:path'
import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag } from '../../cli/flags.js'
import type { CacheDocument, ChangeResult, JobDocument } from '../../protocol/control/documents.js'
import { count } from '../../cli/views/text.js'

export default class CacheImport extends ChangeCommand {
  static override summary = 'Take over a cache from its devices alone.'
  static override description =
    'For a cache whose state database was lost, or whose devices come from another host. All devices of the cache must be named.'
  static override examples = [
    '<%= config.bin %> cache import --device /dev/disk/by-id/nvme-A --device /dev/disk/by-id/nvme-B',
    {
      description: 'Without a device that is lost; what was only there is lost too',
      command: '<%= config.bin %> cache import --device /dev/disk/by-id/nvme-A --allow-missing',
    },
  ]
  static override flags = {
    device: string({
      summary: 'A device of the cache (give all of them).',
      helpValue: 'PATH',
      multiple: true,
      multipleNonGreedy: true,
      required: true,
    }),
    'allow-missing': switchFlag({ summary: 'Open the cache although a device is missing.' }),
  }

  async run(): Promise<(ChangeResult & { cache: CacheDocument | null }) | JobDocument> {
    const { flags } = await this.parse(CacheImport)
    const request = {
      devices: flags.device.map((path) => resolve(path)),
      missing: flags['allow-missing'],
      dryRun: this.options.dryRun,
    }
    return this.change('cache.import', request, ({ cache, changed }) =>
      cache === null
        ? ''
        : `cache ${cache.name} ${changed ? 'is imported' : 'was already there'}: ${count(cache.disks.length, 'disk')}`,
    )
  }
}
