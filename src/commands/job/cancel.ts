import { ChangeCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import type { ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class JobCancel extends ChangeCommand {
  static override summary = 'Cancel a job: what it began is rolled back, or left as it can be repeated.'
  static override examples = ['<%= config.bin %> job cancel 0d9f6c1e']
  static override args = { job: requiredArgument('Id of the job.') }

  async run(): Promise<(ChangeResult & { job: JobDocument }) | JobDocument> {
    const { args } = await this.parse(JobCancel)
    if (this.options.dryRun) return this.#wouldCancel(args.job)
    return this.change(
      'job.cancel',
      { id: args.job },
      ({ changed, job }) => (changed ? `job ${job.id} is cancelled` : `job ${job.id} had ended: ${job.state}`),
      { start: false },
    )
  }

  async #wouldCancel(id: string): Promise<ChangeResult & { job: JobDocument }> {
    const job = await this.ask('job.show', { id, waitMilliseconds: 0 })
    const changed = job.state === 'running'
    const steps = changed ? [`cancel job ${job.id}, ${job.kind} of ${job.object}`] : []
    return this.print({ changed, dryRun: true, steps, job }, () => steps.join('\n'))
  }
}
