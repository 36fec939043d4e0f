import { option } from '@oclif/core/args'
import { VmcacheCommand } from '../cli/base-command.js'

const KINDS = ['cache', 'checkpoint', 'disk', 'job', 'running-job', 'vm'] as const

/** Names for the completion of a shell; silent when there is nobody to ask. */
export default class Complete extends VmcacheCommand {
  static override hidden = true
  static override summary = 'Print names for the completion of a shell, one per line.'
  static override args = { kind: option({ options: KINDS })({ required: true, ignoreStdin: true }) }

  async run(): Promise<string[]> {
    const { args } = await this.parse(Complete)
    const names = await this.#names(args.kind).catch(() => [])
    return this.print(names, () => names.join('\n'))
  }

  async #names(kind: (typeof KINDS)[number]): Promise<string[]> {
    switch (kind) {
      case 'cache':
        return (await this.ask('cache.list', {})).caches.map(({ name }) => name)
      case 'checkpoint':
        return (await this.ask('checkpoint.list', {})).checkpoints.map(({ id, state, vm }) =>
          state === 'unrecorded' ? id : vm,
        )
      case 'disk':
        return (await this.ask('disk.list', {})).disks.map(({ disk }) => disk)
      case 'job':
        return (await this.ask('job.list', {})).jobs.map(({ id }) => id)
      case 'vm':
        return (await this.ask('vm.list', {})).vms.map(({ name }) => name)
      case 'running-job':
        return (await this.ask('job.list', {})).jobs.filter(({ state }) => state === 'running').map(({ id }) => id)
    }
  }
}
