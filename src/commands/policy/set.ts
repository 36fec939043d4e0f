import type { InferredFlags } from '@oclif/core/interfaces'
import { VmcacheError } from '../../base/errors.js'
import { ChangeCommand } from '../../cli/base-command.js'
import { diskFlags } from '../../cli/flags.js'
import { givenDiskSettings } from '../../cli/given-settings.js'
import { isInteractive } from '../../cli/interactive.js'
import { missingWithoutTerminal } from '../../cli/missing.js'
import {
  policyTarget,
  policyTargetFlags,
  SET_OPERATIONS,
  TARGET_FLAGS,
  type PolicyTarget,
} from '../../cli/policy-target.js'
import { givenVmSettings, vmSettingFlags } from '../../cli/vm-setting-flags.js'
import { givenUp, writeBackFlags } from '../../cli/write-back-flags.js'
import type {
  CacheDocument,
  ChangeResult,
  DiskDocument,
  GivenSettings,
  JobDocument,
  VmDocument,
} from '../../protocol/control/documents.js'

type Changed = ChangeResult &
  ({ disk: DiskDocument } | { vm: VmDocument } | { cache: CacheDocument } | { host: string })

const DISK_FLAGS = '--mode, --replacement, --min, --max, --shares, --destage ...'
const VM_FLAGS = '--rapid-suspend, --idle-timeout, --suspend-at, --resume-at, --time-zone'

export default class PolicySet extends ChangeCommand {
  static override summary = 'Set how disks are cached, and what is wanted of VMs, while they are in use.'
  static override description =
    'It is set of one disk, of a VM for itself and its disks, of a cache for its disks, or of the host (--host) for all of them: what is ' +
    'nearer to a disk beats what is further away, each setting for itself, and what is not given stays. Who inherits it has it at once, or, ' +
    'where one of them cannot, nothing is changed. Out of write-back a disk drains first: it goes on, its writes are answered when the origin ' +
    'has them, and the mode changes when nothing is dirty any more. That can be cancelled (vmcache job cancel). A VM with rapid suspend has ' +
    'room for all of its memory in a cache from its start on; where there is none it is not started, unless that is best effort. ' +
    'Percentages are of a cache: of a VM and of the host give sizes. Without arguments, on a terminal, it asks for everything.'
  static override examples = [
    '<%= config.bin %> policy set --disk db01/vda --mode write-around',
    '<%= config.bin %> policy set --disk web01 --min 2g --max 20% --shares 200',
    '<%= config.bin %> policy set --disk db01/vda --mode write-back --dirty-high 4g --dirty-age 1m',
    {
      description: 'All disks of a cache that have no mode of their own; what would be done, disk by disk',
      command: '<%= config.bin %> policy set --cache fast --mode write-back --dry-run',
    },
    {
      description: 'Suspend a VM when it has been idle for an hour, with room for that kept from its start on',
      command: '<%= config.bin %> policy set --vm desk07 --idle-timeout 1h --rapid-suspend on',
    },
    {
      description: 'Have it there on working days only',
      command:
        '<%= config.bin %> policy set --vm desk07 --suspend-at "0 22 * * *" --resume-at "30 7 * * 1-5" --time-zone Europe/Berlin',
    },
  ]
  static override flags = { ...policyTargetFlags, ...diskFlags, ...writeBackFlags, ...vmSettingFlags }

  async run(): Promise<Changed | JobDocument> {
    const parsed = await this.parse(PolicySet)
    const { target, settings } = await this.#complete(policyTarget(parsed), parsed.flags)
    const { level, name } = target
    this.announce(givenUp(settings.writeBack ?? {}))
    return this.change(
      SET_OPERATIONS[level],
      { name, ...settings, dryRun: this.options.dryRun },
      ({ changed }) => `${name} ${changed ? 'is changed' : 'unchanged'}`,
    )
  }

  async #complete(
    target: PolicyTarget | null,
    flags: Flags,
  ): Promise<{ target: PolicyTarget; settings: GivenSettings }> {
    const ofVms = givenVmSettings(flags)
    const settings = { ...(await givenDiskSettings(flags, this.#cacheBytes(target))), ...ofVms }
    const isEmpty = Object.keys(settings).length === 0
    const takesVmSettings = target === null || target.level === 'vm' || target.level === 'host'
    if (!takesVmSettings && Object.keys(ofVms).length > 0) {
      throw new VmcacheError('USAGE', `policy set: ${VM_FLAGS} are not for a ${target.level}`, {
        hint: 'set them of a VM (--vm), or of the host (--host)',
      })
    }
    if (target !== null && !isEmpty) return { target, settings }
    if (!isInteractive() || this.options.json) {
      const names = takesVmSettings ? [DISK_FLAGS, VM_FLAGS] : [DISK_FLAGS]
      throw missingWithoutTerminal('policy set', target === null ? [TARGET_FLAGS] : names)
    }
    const { policyWizard } = await import('../../cli/wizard/policy-wizard.js')
    return policyWizard({ target, settings }, (operation, request) => this.ask(operation, request), this.options)
  }

  /** Of what a percentage is one. */
  #cacheBytes(target: PolicyTarget | null): () => Promise<number> {
    return async () => {
      if (target?.level !== 'disk' && target?.level !== 'cache') {
        throw new VmcacheError('USAGE', 'policy set: a percentage is one of a cache', {
          hint: 'give a size, or set it of a cache (--cache) or a disk (--disk)',
        })
      }
      const { level, name } = target
      const cache = level === 'cache' ? name : (await this.ask('disk.show', { name })).cache
      return (await this.ask('cache.show', { name: cache })).sizeBytes
    }
  }
}

type Flags = InferredFlags<typeof PolicySet.flags>
