import { ChangeCommand } from '../../cli/base-command.js'
import { deviceArgument, parseDevice } from '../../cli/device-specification.js'
import { requiredArgument, switchFlag } from '../../cli/flags.js'
import { devicesText } from '../../cli/views/device-view.js'
import type { CacheDocument, ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class DeviceReplace extends ChangeCommand {
  static override summary = 'Put another device in the place of one of a cache.'
  static override description =
    'As `device add` and then `device remove`, in one job. Where it was interrupted the same command goes on.'
  static override examples = ['<%= config.bin %> device replace fast /dev/disk/by-id/nvme-OLD /dev/disk/by-id/nvme-NEW']
  static override args = {
    cache: requiredArgument('Name of the cache.'),
    device: requiredArgument('Path or id of the device that goes.'),
    new: requiredArgument('The device that comes, as PATH[,size=SIZE].'),
  }
  static override flags = {
    force: switchFlag({ summary: 'Use the new device although it holds something, which is lost.' }),
  }

  async run(): Promise<(ChangeResult & { cache: CacheDocument }) | JobDocument> {
    const { args, flags } = await this.parse(DeviceReplace)
    const request = {
      cache: args.cache,
      device: deviceArgument(args.device),
      by: parseDevice(args.new),
      force: flags.force,
      dryRun: this.options.dryRun,
    }
    return this.change('device.replace', request, ({ cache }) => devicesText(cache))
  }
}
