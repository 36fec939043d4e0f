import { boolean } from '@oclif/core/flags'
import { VmcacheCommand } from '../../cli/base-command.js'

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
    prometheus: boolean({ summary: "In Prometheus's text format.", required: true }),
  }

  async run(): Promise<{ format: 'prometheus'; text: string }> {
    await this.parse(StatsExport)
    const text = await this.engine.metrics()
    return this.print({ format: 'prometheus', text }, () => text.trimEnd())
  }
}
