import { ChangeCommand } from '../../cli/base-command.js'
import { requiredArgument, switchFlag } from '../../cli/flags.js'
import { absoluteOrigin } from '../../cli/origin.js'
import type { ChangeResult, JobDocument, LeaseDocument } from '../../protocol/control/documents.js'

export default class LeaseTake extends ChangeCommand {
  static override summary = 'Take the right to write an origin for this host.'
  static override description =
    'Refused (7) while another host holds it: detach it there, or vouch with --fenced that the host is off and stays off, for it ' +
    'would go on writing. Where the cache of that host holds writes that the origin lacks, they are lost with it: that needs ' +
    '--discard-dirty as well. The epoch rises; a holder that comes back sees that and does not write the origin any more.'
  static override examples = [
    '<%= config.bin %> lease take /images/web01.raw --fenced && <%= config.bin %> cache attach fast /images/web01.raw',
    { description: 'What would be lost', command: '<%= config.bin %> lease take /images/web01.raw --fenced --dry-run' },
  ]
  static override args = { origin: requiredArgument('Image file, block device or NBD URI.') }
  static override flags = {
    fenced: switchFlag({ summary: 'The host that holds it is off, and stays off.' }),
    'discard-dirty': switchFlag({ summary: 'Lose what only the cache of that host has.' }),
  }

  async run(): Promise<(ChangeResult & { lease: LeaseDocument | null }) | JobDocument> {
    const { args, flags } = await this.parse(LeaseTake)
    const origin = absoluteOrigin(args.origin)
    const request = {
      origin,
      fenced: flags.fenced,
      discardDirty: flags['discard-dirty'],
      dryRun: this.options.dryRun,
    }
    if (request.discardDirty) this.announce(await this.#lost(origin))
    return this.change('lease.take', request, ({ changed, lease }) =>
      changed
        ? `this host holds ${origin}, epoch ${lease?.epoch}: vmcache cache attach CACHE ${origin} serves it`
        : `this host holds ${origin} already`,
    )
  }

  /** What --discard-dirty gives up, in words; null where nothing is. */
  async #lost(origin: string): Promise<string | null> {
    const lease = await this.ask('lease.show', { origin }).catch(() => null)
    if (lease === null || lease.lacksWrites === false) return null
    return `discarding writes of disk ${lease.disk} that only the cache of host ${lease.host} has (it alone knows how much)`
  }
}
