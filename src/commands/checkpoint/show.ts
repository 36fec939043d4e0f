import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredArgument } from '../../cli/flags.js'
import { checkpointProperties } from '../../cli/views/checkpoint-view.js'
import type { CheckpointDocument } from '../../protocol/control/documents.js'

export default class CheckpointShow extends VmcacheCommand {
  static override summary = 'Show the checkpoint of one suspended VM.'
  static override examples = ['<%= config.bin %> checkpoint show desk07']
  static override args = { checkpoint: requiredArgument('Name of the VM, or id of the checkpoint.') }

  async run(): Promise<CheckpointDocument> {
    const { args } = await this.parse(CheckpointShow)
    const checkpoint = await this.ask('checkpoint.show', { name: args.checkpoint })
    return this.print(checkpoint, (screen) => checkpointProperties(checkpoint, screen))
  }
}
