import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { absoluteOrigin } from '../../cli/origin.js'
import { leaseProperties } from '../../cli/views/lease-view.js'
import type { LeaseDocument } from '../../protocol/control/documents.js'

export default class LeaseShow extends VmcacheCommand {
  static override summary = 'Show who may write an origin, by its stamp and the state database.'
  static override examples = ['<%= config.bin %> lease show /images/web01.raw']
  static override args = { origin: requiredArgument('Image file, block device or NBD URI.') }

  async run(): Promise<LeaseDocument> {
    const { args } = await this.parse(LeaseShow)
    const lease = await this.ask('lease.show', { origin: absoluteOrigin(args.origin) })
    return this.print(lease, (screen) => leaseProperties(lease, screen))
  }
}
