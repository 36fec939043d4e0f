import { custom } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { parseDevice } from '../../cli/device-specification.js'
import { optionalArgument, sizeFlag, switchFlag } from '../../cli/flags.js'
import { isInteractive } from '../../cli/interactive.js'
import { missingWithoutTerminal } from '../../cli/missing.js'
import { createdText } from '../../cli/views/cache-view.js'
import { DEFAULT_CHUNK_BYTES, PAGE_BYTES } from '../../model/geometry.js'
import { checkedCacheName } from '../../model/names.js'
import type {
  CacheDocument,
  ChangeResult,
  CreateCacheRequest,
  DeviceSpecification,
  JobDocument,
} from '../../protocol/control/documents.js'

const deviceFlag = custom<DeviceSpecification>({ parse: async (text) => parseDevice(text) })

export default class CacheCreate extends ChangeCommand {
  static override summary = 'Make devices into a cache.'
  static override description =
    'A device is a block device, or a file, which is created with the given size where it is not there. A device that ' +
    'holds anything is refused. Without CACHE and --device, on a terminal, it asks for everything.'
  static override examples = [
    '<%= config.bin %> cache create fast --device /dev/disk/by-id/nvme-SAMSUNG_A',
    {
      description: 'Two devices of different sizes, one of them a file',
      command: '<%= config.bin %> cache create fast --device /dev/nvme1n1 --device /var/cache/vmcache/fast,size=100g',
    },
    {
      description: 'What would be done',
      command: '<%= config.bin %> cache create fast --device /dev/nvme1n1 --dry-run',
    },
  ]
  static override args = { cache: optionalArgument('Name of the new cache.') }
  static override flags = {
    device: deviceFlag({
      summary: 'A device of the cache; SIZE where a file is to be created, or only part of a device used.',
      helpValue: 'PATH[,size=SIZE]',
      multiple: true,
      multipleNonGreedy: true,
    }),
    'block-size': sizeFlag({ summary: 'Unit of fill and eviction, 4k to 64k (4k).' }),
    'chunk-size': sizeFlag({ summary: 'Unit of allocation, 1m to 32m (16m).' }),
    force: switchFlag({ summary: 'Use devices although they hold something, which is lost.' }),
  }

  async run(): Promise<(ChangeResult & { cache: CacheDocument | null }) | JobDocument> {
    const { args, flags } = await this.parse(CacheCreate)
    const given = {
      name: args.cache === undefined ? null : checkedCacheName(args.cache),
      devices: flags.device ?? [],
      blockSizeBytes: flags['block-size'] ?? PAGE_BYTES,
      chunkSizeBytes: flags['chunk-size'] ?? DEFAULT_CHUNK_BYTES,
      force: flags.force,
      dryRun: this.options.dryRun,
    }
    const request = await this.#complete(given)
    return this.change('cache.create', request, ({ cache, changed }) =>
      cache === null ? '' : createdText(cache, changed),
    )
  }

  async #complete(given: Omit<CreateCacheRequest, 'name'> & { name: string | null }): Promise<CreateCacheRequest> {
    const { name } = given
    if (name !== null && given.devices.length > 0) return { ...given, name }
    const names = [...(name === null ? ['CACHE'] : []), ...(given.devices.length === 0 ? ['--device'] : [])]
    if (!isInteractive() || this.options.json) throw missingWithoutTerminal('cache create', names)
    const { createCacheWizard } = await import('../../cli/wizard/create-cache-wizard.js')
    return createCacheWizard(given, this.options)
  }
}
