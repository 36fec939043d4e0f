/**
 * commands/: one file per command, named like it. Flags in, one request, its result printed and returned; the type of the
 * result is the JSON contract. The engine is known here only through protocol/control.
 */
import { VmcacheCommand } from '../cli/base-command.js'
import { statusText } from '../cli/views/status-view.js'
import type { StatusDocument } from '../protocol/control/documents.js'

export default class Status extends VmcacheCommand {
  static override summary = 'Show the engine, its caches, what needs attention, and whether a reboot is safe.'
  static override examples = [
    '<%= config.bin %> status',
    {
      description: 'Wait with a reboot until nothing is lost by it',
      command: "<%= config.bin %> status --json | jq -e '.engine.safeToReboot.now' && reboot",
    },
  ]

  async run(): Promise<StatusDocument> {
    await this.parse(Status)
    const status = await this.ask('status.show', {})
    return this.print(status, (screen) => statusText(status, screen))
  }
}
