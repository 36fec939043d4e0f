import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { cacheProperties } from '../../cli/views/cache-view.js'
import type { CacheDocument } from '../../protocol/control/documents.js'

export default class CacheShow extends VmcacheCommand {
  static override summary = 'Show one cache with its devices.'
  static override examples = ['<%= config.bin %> cache show fast']
  static override args = { cache: requiredArgument('Name of the cache.') }

  async run(): Promise<CacheDocument> {
    const { args } = await this.parse(CacheShow)
    const cache = await this.ask('cache.show', { name: args.cache })
    return this.print(cache, (screen) => cacheProperties(cache, screen))
  }
}
