import { VmcacheCommand } from '../../cli/base-command.js'
import { switchFlag } from '../../cli/flags.js'
import { missing } from '../../cli/missing.js'

export default class StatsExport extends VmcacheCommand {
  static override summary = 'Print the metrics for monitoring.'
  static override description = 'The same text is at GET /metrics on the control socket.'
  static override examples = [
    {
      description: "For the text file collector of Prometheus's node exporter, from cron",
      command: '<%= config.bin %> stats export --prometheus > /var/lib/node_exporter/vmcache.prom',
    },
  ]
  static override flags = {
    prometheus: switchFlag({ summary: "In Prometheus's text format." }),
  }

  async run(): Promise<{ format: 'prometheus'; text: string }> {
    const { flags } = await this.parse(StatsExport)
    if (!flags.prometheus) throw missing('stats export', ['--prometheus'])
    const text = await this.engine.metrics()
    return this.print({ format: 'prometheus', text }, () => text.trimEnd())
  }
}
