import { VmcacheError } from '../../base/errors.js'
import { ChangeCommand } from '../../cli/base-command.js'
import { requiredArgument, sizeFlag } from '../../cli/flags.js'
import { scrubText } from '../../cli/views/scrub-view.js'
import { count } from '../../cli/views/text.js'
import type { ChangeResult, JobDocument, ScrubbedCache } from '../../protocol/control/documents.js'

export default class CacheScrub extends ChangeCommand {
  static override summary = 'Read everything that is cached back, and repair what is bad.'
  static override description =
    'Guests go on meanwhile, and go first. A bad page that the origin has is read from there again. One that the origin lacks cannot be ' +
    'repaired: it is named, and the command ends with 1. Reading such a page is an I/O error until it is written anew. Reads what is on ' +
    'the devices, past all caches in memory. A scrub that was cancelled begins anew; what it repaired stays repaired.'
  static override examples = [
    '<%= config.bin %> cache scrub fast',
    { description: 'At night, from cron', command: '<%= config.bin %> cache scrub fast --rate 50m --quiet' },
    {
      description: 'In the background',
      command: '<%= config.bin %> cache scrub fast --no-wait',
    },
  ]
  static override args = { cache: requiredArgument('Name of the cache.') }
  static override flags = { rate: sizeFlag({ summary: 'Read at most so much a second.' }) }

  async run(): Promise<(ChangeResult & ScrubbedCache) | JobDocument> {
    const { args, flags } = await this.parse(CacheScrub)
    if (flags.rate === 0) throw new VmcacheError('BAD_SIZE', '--rate is 0: nothing would ever be read')
    const request = { name: args.cache, bytesPerSecond: flags.rate ?? null, dryRun: this.options.dryRun }
    return this.change('cache.scrub', request, () => '', { data: scrubText, error: damage })
  }
}

function damage({ cache, disks }: ScrubbedCache): VmcacheError | null {
  const damaged = disks.filter(({ damagedPages }) => damagedPages.length > 0)
  if (damaged.length === 0) return null
  const pages = damaged.reduce((sum, { damagedPages }) => sum + damagedPages.length, 0)
  return new VmcacheError('CORRUPT', `cache ${cache}: ${count(pages, 'page')} that the origin lacks are damaged`, {
    hint: `flush ${damaged.map(({ disk }) => disk).join(' ')}, restore these pages from a backup, and replace the device`,
    details: { pages },
  })
}
