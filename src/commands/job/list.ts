import { VmcacheCommand } from '../../cli/base-command.js'
import { jobTable } from '../../cli/views/job-view.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class JobList extends VmcacheCommand {
  static override summary = 'List jobs: long operations that run or have ended.'
  static override examples = [
    '<%= config.bin %> job list',
    {
      description: 'What runs now',
      command: '<%= config.bin %> job list --json | jq \'.jobs[] | select(.state == "running")\'',
    },
  ]

  async run(): Promise<{ jobs: JobDocument[] }> {
    await this.parse(JobList)
    const result = await this.ask('job.list', {})
    return this.print(result, (screen) =>
      result.jobs.length === 0 ? this.empty('no jobs') : jobTable(result.jobs, screen),
    )
  }
}
