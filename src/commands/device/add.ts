import { ChangeCommand } from '../../cli/base-command.js'
import { parseDevice } from '../../cli/device-specification.js'
import { requiredArgument, switchFlag } from '../../cli/flags.js'
import { devicesText } from '../../cli/views/device-view.js'
import type { CacheDocument, ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class DeviceAdd extends ChangeCommand {
  static override summary = 'Give a cache another device.'
  static override description =
    'DEVICE is a block device, or a file: PATH, or PATH,size=SIZE where a file is to be created or only a part used. One that holds ' +
    'anything is refused. The disks of the cache go on, and use its room at once.'
  static override examples = [
    '<%= config.bin %> device add fast /dev/disk/by-id/nvme-SAMSUNG_B',
    { description: 'A file', command: '<%= config.bin %> device add fast /var/cache/vmcache/more,size=100g' },
  ]
  static override args = {
    cache: requiredArgument('Name of the cache.'),
    device: requiredArgument('The new device, as PATH[,size=SIZE].'),
  }
  static override flags = {
    force: switchFlag({ summary: 'Use the device although it holds something, which is lost.' }),
  }

  async run(): Promise<(ChangeResult & { cache: CacheDocument }) | JobDocument> {
    const { args, flags } = await this.parse(DeviceAdd)
    const device = parseDevice(args.device)
    const request = { cache: args.cache, device, force: flags.force, dryRun: this.options.dryRun }
    return this.change('device.add', request, ({ cache, changed }) =>
      changed ? devicesText(cache) : `cache ${cache.name} has device ${device.path}`,
    )
  }
}
