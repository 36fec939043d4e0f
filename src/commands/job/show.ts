import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { jobProperties } from '../../cli/views/job-view.js'
import type { JobDocument } from '../../protocol/control/documents.js'

export default class JobShow extends VmcacheCommand {
  static override summary = 'Show one job: how far it is, or how it ended.'
  static override examples = ['<%= config.bin %> job show 0d9f6c1e']
  static override args = { job: requiredArgument('Id of the job.') }

  async run(): Promise<JobDocument> {
    const { args } = await this.parse(JobShow)
    const job = await this.ask('job.show', { id: args.job, waitMilliseconds: 0 })
    return this.print(job, (screen) => jobProperties(job, screen))
  }
}
