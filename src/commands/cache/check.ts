import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { VmcacheCommand } from '../../cli/base-command.js'
import { requiredTargetsArgument, switchFlag } from '../../cli/flags.js'
import { interruption } from '../../cli/interruption.js'
import { progressDisplay } from '../../cli/progress.js'
import { checkText } from '../../cli/views/check-view.js'
import { count } from '../../cli/views/text.js'
import type { CacheCheckDocument } from '../../protocol/control/cache-check.js'

export default class CacheCheck extends VmcacheCommand {
  static override summary = 'Read all of a cache and say what is wrong with it (offline: no engine may have it).'
  static override description =
    'Ends with 1 when something is wrong that was not mended. Writes nothing without --repair, and with it only what the next ' +
    'opening of the cache would write: the second copy of a superblock, the summary of a chunk whose frames are all whole, ' +
    'the free header of a chunk that a session, or a checkpoint that was never finished, left behind.'
  static override examples = [
    '<%= config.bin %> cache check /dev/disk/by-id/nvme-A /dev/disk/by-id/nvme-B',
    {
      description: 'Only what costs pages',
      command: '<%= config.bin %> cache check /dev/nvme1n1 --json | jq .findings',
    },
  ]
  static override args = { device: requiredTargetsArgument('Devices of the cache, all of them.') }
  static override flags = { repair: switchFlag({ summary: 'Mend what can be mended without loss.' }) }

  async run(): Promise<CacheCheckDocument> {
    const { args, flags } = await this.parse(CacheCheck)
    const { checkCache } = await import('../../engine/check/check-cache.js')
    const paths = args.device.map((path) => resolve(path))
    const display = progressDisplay(process.stderr, this.options)
    const found = await checkCache(paths, {
      repair: flags.repair && !this.options.dryRun,
      progress: (done, total, unit) =>
        display.update({ kind: 'check', object: paths.join(', '), progress: { done, total, unit, note: null } }),
      signal: interruption,
    }).finally(() => display.stop())
    return this.printWithError(found, errorOf(found), (screen) => checkText(found, screen))
  }
}

function errorOf({ cache, findings, repaired }: CacheCheckDocument): VmcacheError | null {
  const left = findings.length - repaired
  if (left === 0) return null
  const costs = findings.filter((finding) => finding.effect !== 'harmless' && !finding.repaired).length
  const checkpoints = findings.filter(({ effect }) => effect === 'loses a checkpoint').length
  if (checkpoints > 0) {
    return new VmcacheError('CORRUPT', `cache ${cache}: ${count(checkpoints, 'checkpoint')} cannot be resumed`, {
      hint: 'start the VM anew after: vmcache checkpoint delete ID --discard-memory',
      details: { findings: left },
    })
  }
  return new VmcacheError(
    'CORRUPT',
    `cache ${cache}: ${count(left, 'finding')}, ${costs === 0 ? 'all harmless' : `${costs} of them cost clean pages`}`,
    {
      hint:
        costs === 0
          ? 'the next opening mends them, or --repair now'
          : 'the origins have all of the data: what the cache lost is read from there again',
      details: { findings: left },
    },
  )
}
