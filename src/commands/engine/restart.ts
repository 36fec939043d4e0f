import { ChangeCommand } from '../../cli/base-command.js'
import type { ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class EngineRestart extends ChangeCommand {
  static override summary = 'Replace the engine by a new one behind the open sockets of its disks.'
  static override description =
    'Guests see a pause as long as the restart. Reads the configuration file again. Starts an engine where none runs.'
  static override examples = ['<%= config.bin %> engine restart']

  async run(): Promise<ChangeResult | JobDocument> {
    await this.parse(EngineRestart)
    if (!(await this.engine.isRunning())) return this.#start()
    const { pid } = await this.ask('engine.status', {})
    if (this.options.dryRun) return this.#would([`replace the engine (pid ${pid})`])
    const settled = () => this.engine.waitUntilReplaced(pid)
    return this.change('engine.restart', {}, () => 'the engine is restarted', { start: false, settled })
  }

  async #start(): Promise<ChangeResult> {
    if (this.options.dryRun) return this.#would(['start the engine'])
    await this.engine.start()
    this.say('no engine ran: one is started')
    return this.print({ changed: true }, () => '')
  }

  #would(steps: string[]): Promise<ChangeResult> {
    return this.print({ changed: true, dryRun: true, steps }, () => steps.join('\n'))
  }
}
