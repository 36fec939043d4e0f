import { VmcacheCommand } from '../../cli/base-command.js'
import { deviceTable } from '../../cli/views/device-view.js'
import type { DeviceDocument } from '../../protocol/control/documents.js'

export default class DeviceList extends VmcacheCommand {
  static override summary = 'List the devices of all caches.'
  static override examples = ['<%= config.bin %> device list']

  async run(): Promise<{ devices: (DeviceDocument & { cache: string })[] }> {
    await this.parse(DeviceList)
    const result = await this.ask('device.list', {})
    return this.print(result, (screen) =>
      result.devices.length === 0
        ? this.empty('no devices yet: vmcache cache create NAME --device PATH')
        : deviceTable(result.devices, screen),
    )
  }
}
