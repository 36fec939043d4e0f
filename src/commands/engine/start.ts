import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag } from '../../cli/flags.js'
import { directoriesOf } from '../../model/configuration.js'
import type { ChangeResult, EngineDocument } from '../../protocol/control/documents.js'

export default class EngineStart extends ChangeCommand {
  static override summary = 'Start the engine of this host.'
  static override description =
    'Through systemd where its unit is installed, else in the background. Commands that change something do it by themselves.'
  static override examples = [
    '<%= config.bin %> engine start',
    {
      description: 'A private engine, for trying things out',
      command: '<%= config.bin %> engine start --user --state-dir /tmp/try --run-dir /tmp/try/run',
    },
    { description: 'For a service manager of your own', command: '<%= config.bin %> engine start --foreground' },
  ]
  static override flags = {
    foreground: switchFlag({ summary: 'Stay in the foreground and log to standard error, until SIGTERM or Ctrl-C.' }),
  }

  async run(): Promise<ChangeResult & { engine: EngineDocument | null }> {
    const { flags } = await this.parse(EngineStart)
    if (this.options.dryRun) return this.#wouldStart()
    if (flags.foreground) return this.#foreground()
    const changed = await this.engine.start()
    const engine = await this.ask('engine.status', {})
    this.say(`the engine of ${engine.host} ${changed ? 'is running' : 'was already running'} (pid ${engine.pid})`)
    return this.print({ changed, engine }, () => '')
  }

  async #wouldStart(): Promise<ChangeResult & { engine: EngineDocument | null }> {
    const changed = !(await this.engine.isRunning())
    const engine = changed ? null : await this.ask('engine.status', {})
    const steps = changed ? ['start the engine'] : []
    return this.print({ changed, dryRun: true, steps, engine }, () => steps.join('\n'))
  }

  async #foreground(): Promise<ChangeResult & { engine: EngineDocument | null }> {
    const { runInForeground } = await import('../../cli/run-in-foreground.js')
    const { values } = await this.engine.configuration()
    const { user, configurationFile } = this.options
    process.exitCode = await runInForeground(directoriesOf(values), { user, configFile: configurationFile })
    return { changed: true, engine: null }
  }
}
