import { ChangeCommand } from '../../cli/base-command.js'
import { requiredArgument, switchFlag } from '../../cli/flags.js'
import { lostData } from '../../cli/lost-data.js'
import type { ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class CacheDelete extends ChangeCommand {
  static override summary = 'Delete a cache and erase it from its devices.'
  static override description =
    'The disks of the cache must have been detached before. Their images are not touched. Asks first; --yes answers.'
  static override examples = ['<%= config.bin %> cache delete fast', '<%= config.bin %> cache delete fast --yes']
  static override args = { cache: requiredArgument('Name of the cache.') }
  static override flags = {
    'discard-dirty': switchFlag({ summary: 'Lose what the origins of its disks still lack.' }),
  }

  async run(): Promise<(ChangeResult & { name: string }) | JobDocument> {
    const { args, flags } = await this.parse(CacheDelete)
    const request = { name: args.cache, discardDirty: flags['discard-dirty'], dryRun: this.options.dryRun }
    await this.confirm(`Delete cache ${args.cache} and everything that is cached in it?`)
    if (request.discardDirty) this.announce(lostData([await this.ask('cache.show', { name: args.cache })]))
    return this.change('cache.delete', request, ({ name, changed }) =>
      changed ? `cache ${name} is deleted` : `cache ${name} was not there`,
    )
  }
}
