import { string } from '@oclif/core/flags'
import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { VmcacheCommand } from '../../cli/base-command.js'
import { optionalArgument } from '../../cli/flags.js'
import { interruption } from '../../cli/interruption.js'
import { missing } from '../../cli/missing.js'
import { progressDisplay } from '../../cli/progress.js'
import { recoverText } from '../../cli/views/recover-view.js'
import { count } from '../../cli/views/text.js'
import type { CacheRecoverDocument } from '../../protocol/control/cache-recover.js'

export default class CacheRecover extends VmcacheCommand {
  static override summary = 'Write what a cache holds to the origins, without an engine (offline).'
  static override description =
    'For a host whose engine does not start, so that its VMs can be started from their images: afterwards the stamps say that ' +
    'the images have everything. What was cached stays, for the next engine. Refused while an engine runs, for an origin that ' +
    'another program has open, and for one that somebody else wrote meanwhile. May be interrupted, and given again.'
  static override examples = [
    '<%= config.bin %> cache recover fast',
    {
      description: 'Of a host without its state directory, one disk',
      command: '<%= config.bin %> cache recover --device /dev/nvme0n1 --device /dev/nvme1n1 --disk db01/vda',
    },
    { description: 'How much it is', command: '<%= config.bin %> cache recover fast --dry-run' },
  ]
  static override args = { cache: optionalArgument('Name of the cache.') }
  static override flags = {
    device: string({
      summary: 'Device of the cache, where no state database knows its name; all of them.',
      helpValue: 'PATH',
      multiple: true,
      multipleNonGreedy: true,
    }),
    disk: string({ summary: 'Only this disk.', helpValue: 'DISK' }),
  }

  async run(): Promise<CacheRecoverDocument> {
    const { args, flags } = await this.parse(CacheRecover)
    const devices = (flags.device ?? []).map((path) => resolve(path))
    if ((args.cache === undefined) === (devices.length === 0))
      throw missing('cache recover', ['CACHE or --device PATH...'])
    const { recoverOffline } = await import('../../daemon/recover-offline.js')
    const display = progressDisplay(process.stderr, this.options)
    const { configurationFile, stateDirectory, runDirectory, user, dryRun } = this.options
    const recovered = await recoverOffline({
      cache: args.cache ?? null,
      devices,
      disk: flags.disk ?? null,
      dryRun,
      configuration: {
        flags: {
          config: configurationFile ?? undefined,
          'state-dir': stateDirectory ?? undefined,
          'run-dir': runDirectory ?? undefined,
        },
        user,
        environment: process.env,
      },
      progress: (disk, done, total, unit, note) =>
        display.update({
          kind: 'recover',
          object: `disk ${disk}`,
          progress: { done, total, unit, note: note ?? null },
        }),
      signal: interruption,
    }).finally(() => display.stop())
    return this.printWithError(recovered, errorOf(recovered), () => recoverText(recovered))
  }
}

function errorOf({ cache, disks }: CacheRecoverDocument): VmcacheError | null {
  const failed = disks.flatMap(({ error }) => error ?? [])
  if (failed.length === 0) return null
  if (disks.length === 1) return VmcacheError.fromDocument(failed[0]!)
  const alike = failed.length === disks.length && failed.every(({ code }) => code === failed[0]!.code)
  return new VmcacheError(
    alike ? failed[0]!.code : 'PARTIAL',
    `cache ${cache}: ${count(failed.length, 'disk')} of ${disks.length} still hold what their origins lack`,
    failed[0]!.hint === null ? {} : { hint: failed[0]!.hint },
  )
}
