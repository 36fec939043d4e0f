import { resolve } from 'node:path'
import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { configurationTable, valuesOf, type ConfigurationValue } from '../../cli/views/configuration-view.js'

export default class ConfigCheck extends VmcacheCommand {
  static override summary = 'Check a configuration file before an engine starts with it (offline: needs no engine).'
  static override description = 'Ends with 2 and the line of the first mistake, or shows what the file sets.'
  static override examples = ['<%= config.bin %> config check /etc/vmcache/config.yaml']
  static override args = { file: requiredArgument('The configuration file.') }

  async run(): Promise<{ file: string; values: ConfigurationValue[] }> {
    const { args } = await this.parse(ConfigCheck)
    const { loadConfiguration } = await import('../../daemon/load-configuration.js')
    const file = resolve(args.file)
    const loaded = await loadConfiguration({ flags: { config: file }, user: this.options.user, environment: {} })
    const values = valuesOf(loaded).filter(({ source }) => source !== 'default')
    return this.print({ file, values }, (screen) =>
      values.length === 0 ? this.empty(`${file} sets nothing`) : configurationTable(values, screen),
    )
  }
}
