import { VmcacheCommand } from '../../cli/base-command.js'
import { checkpointTable } from '../../cli/views/checkpoint-view.js'
import type { CheckpointDocument } from '../../protocol/control/documents.js'

export default class CheckpointList extends VmcacheCommand {
  static override summary = 'List the checkpoints: what caches and storage have of the memory of suspended VMs.'
  static override examples = [
    '<%= config.bin %> checkpoint list',
    {
      description: 'What they take of the caches, in bytes',
      command: `<%= config.bin %> checkpoint list --json | jq '[.checkpoints[] | select(.location == "cache").storedBytes] | add'`,
    },
  ]

  async run(): Promise<{ checkpoints: CheckpointDocument[] }> {
    await this.parse(CheckpointList)
    const result = await this.ask('checkpoint.list', {})
    return this.print(result, async (screen) =>
      result.checkpoints.length === 0 ? this.empty('no VM is suspended') : checkpointTable(result.checkpoints, screen),
    )
  }
}
