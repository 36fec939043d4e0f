import { VmcacheCommand } from '../../cli/base-command.js'
import { engineProperties } from '../../cli/views/status-view.js'
import type { EngineDocument } from '../../protocol/control/documents.js'

export default class EngineStatus extends VmcacheCommand {
  static override summary = 'Show the engine: version, socket, threads, caches, and whether a reboot is safe.'
  static override examples = [
    '<%= config.bin %> engine status',
    {
      description: 'Seconds until a reboot is safe',
      command: '<%= config.bin %> engine status --json | jq .safeToReboot.secondsUntil',
    },
  ]

  async run(): Promise<EngineDocument> {
    await this.parse(EngineStatus)
    const engine = await this.ask('engine.status', {})
    return this.print(engine, (screen) => engineProperties(engine, screen))
  }
}
