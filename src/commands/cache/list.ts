import { VmcacheCommand } from '../../cli/base-command.js'
import { cacheTable } from '../../cli/views/cache-view.js'
import type { CacheDocument } from '../../protocol/control/documents.js'

export default class CacheList extends VmcacheCommand {
  static override summary = 'List the caches of this host.'
  static override examples = [
    '<%= config.bin %> cache list',
    {
      description: 'Names and free bytes for a script',
      command:
        "<%= config.bin %> cache list --json | jq -r '.caches[] | [.name, .chunks.free * .chunkSizeBytes] | @tsv'",
    },
  ]

  async run(): Promise<{ caches: CacheDocument[] }> {
    await this.parse(CacheList)
    const result = await this.ask('cache.list', {})
    return this.print(result, async (screen) => {
      if (result.caches.length === 0) return this.empty('no caches yet: vmcache cache create NAME --device PATH')
      const stats = await this.ask('stats.show', { names: [], window: '5m' })
      return cacheTable(result.caches, stats.caches, screen)
    })
  }
}
