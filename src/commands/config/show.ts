import { VmcacheCommand } from '../../cli/base-command.js'
import { configurationTable, valuesOf } from '../../cli/views/configuration-view.js'
import { VmcacheError } from '../../base/errors.js'
import type { ResponseOf } from '../../protocol/control/routes.js'

export default class ConfigShow extends VmcacheCommand {
  static override summary = 'Show the configuration of the engine, and where each value comes from.'
  static override description = 'Where no engine runs: the configuration that one would start with (offline).'
  static override examples = [
    '<%= config.bin %> config show',
    '<%= config.bin %> config show --json | jq -r \'.values[] | select(.source != "default") | .key\'',
  ]

  async run(): Promise<ResponseOf<'config.show'>> {
    await this.parse(ConfigShow)
    const result = await this.#values()
    return this.print(result, (screen) => configurationTable(result.values, screen))
  }

  async #values(): Promise<ResponseOf<'config.show'>> {
    try {
      return await this.ask('config.show', {})
    } catch (error) {
      if (!(error instanceof VmcacheError) || error.code !== 'ENGINE_UNAVAILABLE') throw error
      this.say('no engine runs; one would start with:')
      return { values: valuesOf(await this.engine.configuration()) }
    }
  }
}
