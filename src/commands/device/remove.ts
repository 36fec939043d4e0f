import { ChangeCommand } from '../../cli/base-command.js'
import { deviceArgument } from '../../cli/device-specification.js'
import { requiredArgument } from '../../cli/flags.js'
import { devicesText } from '../../cli/views/device-view.js'
import type { CacheDocument, ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class DeviceRemove extends ChangeCommand {
  static override summary = 'Take a device from a cache.'
  static override description =
    'The disks of the cache go on. What their origins lack of what is there is written to them first, what is hot is moved to the other ' +
    'devices, the rest is dropped; then the device is erased. Refused (5) where the others do not hold what disks are promised, and (7) for ' +
    'the last device, where an origin does not take what it lacks, or where a device that failed may have what only it has. Cancelled, it ' +
    'leaves the cache with the device.'
  static override examples = [
    '<%= config.bin %> device remove fast /dev/disk/by-id/nvme-SAMSUNG_A',
    { description: 'What would be done', command: '<%= config.bin %> device remove fast /dev/nvme1n1 --dry-run' },
  ]
  static override args = {
    cache: requiredArgument('Name of the cache.'),
    device: requiredArgument('Path or id of the device.'),
  }

  async run(): Promise<(ChangeResult & { cache: CacheDocument }) | JobDocument> {
    const { args } = await this.parse(DeviceRemove)
    const request = { cache: args.cache, device: deviceArgument(args.device), dryRun: this.options.dryRun }
    return this.change('device.remove', request, ({ cache }) => devicesText(cache))
  }
}
