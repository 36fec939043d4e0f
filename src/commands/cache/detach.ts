import { string } from '@oclif/core/flags'
import { VmcacheError } from '../../base/errors.js'
import { ChangeCommand } from '../../cli/base-command.js'
import { switchFlag, targetFlags, targetsArgument } from '../../cli/flags.js'
import { lostData } from '../../cli/lost-data.js'
import { chosenTargets } from '../../cli/targets.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type {
  ChangeResult,
  DiskDocument,
  JobDocument,
  TargetResult,
  Targets,
} from '../../protocol/control/documents.js'
import type { RequestOf } from '../../protocol/control/routes.js'

export default class CacheDetach extends ChangeCommand {
  static override summary = 'Stop caching disks: flush, verify, and serve them no longer.'
  static override examples = [
    '<%= config.bin %> cache detach web01',
    '<%= config.bin %> cache detach "test-*" db02/vdb',
    '<%= config.bin %> cache detach --all --exclude db01',
    '<%= config.bin %> cache detach --vm web01',
  ]
  static override args = { disk: targetsArgument('Names or quoted globs of disks.') }
  static override flags = {
    ...targetFlags,
    vm: string({ summary: 'All disks of this VM; where it runs it goes on, and notices nothing.', helpValue: 'VM' }),
    force: switchFlag({ summary: 'Detach although clients are connected.' }),
    'discard-dirty': switchFlag({ summary: 'Lose what the origins still lack.' }),
  }

  async run(): Promise<(ChangeResult & { results: TargetResult[] }) | JobDocument> {
    const { args, flags } = await this.parse(CacheDetach)
    const request = {
      ...(flags.vm === undefined
        ? chosenTargets(args.disk, flags, 'disk')
        : await this.#disksOfVm(flags.vm, args.disk, flags)),
      force: flags.force,
      discardDirty: flags['discard-dirty'],
      dryRun: this.options.dryRun,
    }
    if (request.discardDirty) this.announce(lostData(await this.#disksOf(request)))
    return this.change('cache.detach', request, ({ results }) => targetsText(results, 'detached'))
  }

  /** A VM of which nothing is attached is no mistake. */
  async #disksOfVm(
    vm: string,
    names: readonly string[] | undefined,
    { all, exclude = [] }: { all: boolean; exclude?: readonly string[] | undefined },
  ): Promise<Targets> {
    if (all || (names ?? []).length > 0) {
      throw new VmcacheError('USAGE', 'names, --all and --vm do not go together')
    }
    const { disks } = await this.ask('vm.show', { name: vm })
    const attached = disks.flatMap(({ disk }) => disk ?? [])
    // No name would be none given.
    return attached.length === 0
      ? { names: [], all: true, exclude: ['*'] }
      : { names: attached, all: false, exclude: [...exclude] }
  }

  /** The disks that the request is about, as a dry run of it names them. */
  async #disksOf(request: RequestOf<'cache.detach'>): Promise<DiskDocument[]> {
    const { result } = await this.engine.change('cache.detach', { ...request, dryRun: true }, { wait: true })
    const names = new Set(result?.results.map(({ name }) => name))
    return (await this.ask('disk.list', {})).disks.filter(({ disk }) => names.has(disk))
  }
}
