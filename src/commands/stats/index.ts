import { option } from '@oclif/core/flags'
import { VmcacheCommand } from '../../cli/base-command.js'
import { switchFlag, targetsArgument } from '../../cli/flags.js'
import { latencyTable, statsTable } from '../../cli/views/stats-view.js'
import type { StatsDocument } from '../../protocol/control/documents.js'

const WATCH_MILLISECONDS = 2000
const CLEAR_SCREEN = '\u001b[H\u001b[2J'

export default class Stats extends VmcacheCommand {
  static override summary = 'Show what disks and caches do: rates, hits, latencies, dirty data.'
  static override examples = [
    '<%= config.bin %> stats',
    '<%= config.bin %> stats "db*" --window 24h --latency',
    { description: 'Again every two seconds', command: '<%= config.bin %> stats --watch' },
  ]
  static override args = {
    disk: targetsArgument('Names or quoted globs of disks; all where not given.'),
  }
  static override flags = {
    window: option({
      options: ['5m', '1h', '24h', 'all'] as const,
      default: '5m',
      summary: 'Over which time.',
    })(),
    watch: switchFlag({ summary: 'Go on until Ctrl-C.' }),
    latency: switchFlag({ summary: 'Show the percentiles of the latencies.' }),
  }

  async run(): Promise<StatsDocument> {
    const { args, flags } = await this.parse(Stats)
    const request = { names: args.disk ?? [], window: flags.window }
    let stats = await this.ask('stats.show', request)
    if (!flags.watch) return this.print(stats, () => this.#text(stats, flags.latency))
    for (;;) {
      await this.printLine(
        stats,
        async () => (process.stdout.isTTY ? CLEAR_SCREEN : '') + (await this.#text(stats, flags.latency)),
      )
      if (!(await this.pause(WATCH_MILLISECONDS))) return stats
      stats = await this.ask('stats.show', request)
    }
  }

  async #text(stats: StatsDocument, latency: boolean): Promise<string> {
    if (stats.disks.length === 0) return this.empty('no disks yet: vmcache cache attach CACHE IMAGE')
    const screen = await this.screen()
    if (latency) return latencyTable(stats, screen)
    return statsTable(stats, (await this.ask('disk.list', {})).disks, screen)
  }
}
