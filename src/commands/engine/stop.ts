import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag } from '../../cli/flags.js'
import type { ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class EngineStop extends ChangeCommand {
  static override summary = 'Stop the engine of this host.'
  static override description =
    'Refused (7) while a client uses a disk through it: --detach first moves every disk to its direct path. Attachments ' +
    'are kept; the next engine serves them again.'
  static override examples = ['<%= config.bin %> engine stop', '<%= config.bin %> engine stop --detach']
  static override flags = {
    detach: switchFlag({ summary: 'First move every disk to its direct path.' }),
    force: switchFlag({ summary: 'Stop although clients are connected; they wait for the next engine.' }),
  }

  async run(): Promise<ChangeResult | JobDocument> {
    const { flags } = await this.parse(EngineStop)
    if (!(await this.engine.isRunning())) {
      this.say('no engine runs')
      return this.print({ changed: false }, () => '')
    }
    if (this.options.dryRun) return this.#wouldStop(flags.detach)
    return this.change('engine.stop', { detach: flags.detach, force: flags.force }, () => 'the engine is stopped', {
      start: false,
      settled: () => this.engine.waitUntilStopped(),
    })
  }

  async #wouldStop(detach: boolean): Promise<ChangeResult> {
    const { pid } = await this.ask('engine.status', {})
    const { disks } = detach ? await this.ask('disk.list', {}) : { disks: [] }
    const steps = [...disks.map(({ disk }) => `detach disk ${disk}`), `stop the engine (pid ${pid})`]
    return this.print({ changed: true, dryRun: true, steps }, () => steps.join('\n'))
  }
}
