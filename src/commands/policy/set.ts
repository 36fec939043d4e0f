import { option, string } from '@oclif/core/flags'
import type { InferredFlags } from '@oclif/core/interfaces'
import { ChangeCommand } from '../../cli/base-command.js'
import { diskFlags, textOrOff, timeoutFlag } from '../../cli/flags.js'
import { missing } from '../../cli/missing.js'
import { maximumBytes, quotaBytes } from '../../cli/quota.js'
import { givenUp, givenWriteBack, writeBackFlags } from '../../cli/write-back-flags.js'
import { RAPID_SUSPEND } from '../../model/vm-policy.js'
import type { ChangeResult, DiskDocument, JobDocument, VmDocument } from '../../protocol/control/documents.js'
import type { RequestOf } from '../../protocol/control/routes.js'

/** What only disks have. */
const ofDisks = Object.keys({ ...diskFlags, ...writeBackFlags })

export default class PolicySet extends ChangeCommand {
  static override summary = 'Change how a disk is cached, or what is wanted of a VM, while it is in use.'
  static override description =
    'What is not given stays as it is. Out of write-back the disk drains first: it goes on, its writes are answered when the origin ' +
    'has them, and the mode changes when nothing is dirty any more. That can be cancelled (vmcache job cancel). A VM with rapid suspend has ' +
    'room for all of its memory in a cache from its start on; where there is none it is not started, unless that is best effort.'
  static override examples = [
    '<%= config.bin %> policy set --disk db01/vda --mode write-around',
    '<%= config.bin %> policy set --disk web01 --min 2g --max 20% --shares 200',
    '<%= config.bin %> policy set --disk db01/vda --mode write-back --dirty-high 4g --dirty-age 1m',
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
  static override flags = {
    disk: string({ summary: 'Name of the disk.', helpValue: 'DISK' }),
    vm: string({ summary: 'Name or UUID of the VM.', helpValue: 'VM', exclusive: ['disk', ...ofDisks] }),
    ...diskFlags,
    ...writeBackFlags,
    'rapid-suspend': option({
      options: RAPID_SUSPEND,
      summary: 'Whether room for the memory of the VM is kept while it runs.',
      dependsOn: ['vm'],
    })(),
    'idle-timeout': timeoutFlag({
      summary: 'Suspend the VM when it has been idle for so long; off: never.',
      dependsOn: ['vm'],
    }),
    'suspend-at': textOrOff({
      summary: 'Suspend the VM at these times, whatever it does; off: never.',
      helpValue: 'CRON|off',
      dependsOn: ['vm'],
    }),
    'resume-at': textOrOff({
      summary: 'Resume the VM at these times, if it is suspended; off: never.',
      helpValue: 'CRON|off',
      dependsOn: ['vm'],
    }),
    'time-zone': textOrOff({
      summary: 'Time zone of these times, such as Europe/Berlin; off: that of the engine.',
      helpValue: 'ZONE|off',
      dependsOn: ['vm'],
    }),
  }

  async run(): Promise<(ChangeResult & ({ disk: DiskDocument } | { vm: VmDocument })) | JobDocument> {
    const { flags } = await this.parse(PolicySet)
    const done = (name: string) => (result: ChangeResult) => `${name} ${result.changed ? 'is changed' : 'unchanged'}`
    if (flags.vm !== undefined) return this.change('vm.set', this.#ofVm(flags.vm, flags), done(flags.vm))
    if (flags.disk === undefined) throw missing('policy set', ['--disk or --vm'])
    this.announce(givenUp(givenWriteBack(flags)))
    return this.change('disk.set', await this.#ofDisk(flags.disk, flags), done(flags.disk))
  }

  #ofVm(name: string, flags: Flags): RequestOf<'vm.set'> {
    const { 'rapid-suspend': rapidSuspend, 'idle-timeout': idleTimeoutSeconds } = flags
    const { 'suspend-at': suspendAt, 'resume-at': resumeAt, 'time-zone': timeZone } = flags
    const changes = {
      ...(rapidSuspend === undefined ? {} : { rapidSuspend }),
      ...(idleTimeoutSeconds === undefined ? {} : { idleTimeoutSeconds }),
      ...(suspendAt === undefined ? {} : { suspendAt }),
      ...(resumeAt === undefined ? {} : { resumeAt }),
      ...(timeZone === undefined ? {} : { timeZone }),
    }
    if (Object.keys(changes).length === 0) {
      throw missing('policy set', ['--rapid-suspend, --idle-timeout, --suspend-at, --resume-at, --time-zone'])
    }
    return { name, ...changes, dryRun: this.options.dryRun }
  }

  async #ofDisk(name: string, flags: Flags): Promise<RequestOf<'disk.set'>> {
    const { mode, replacement, min, max, shares } = flags
    const writeBack = givenWriteBack(flags)
    const isEmpty = Object.keys(writeBack).length === 0
    if (isEmpty && [mode, replacement, min, max, shares].every((value) => value === undefined)) {
      throw missing('policy set', ['--mode, --replacement, --min, --max, --shares, --destage ...'])
    }
    const bytesOfCache = async (): Promise<number> => {
      const { cache } = await this.ask('disk.show', { name })
      return (await this.ask('cache.show', { name: cache })).sizeBytes
    }
    return {
      name,
      ...(mode === undefined ? {} : { mode }),
      ...(replacement === undefined ? {} : { replacement }),
      ...(min === undefined ? {} : { minBytes: await quotaBytes(min, bytesOfCache) }),
      ...(max === undefined ? {} : { maxBytes: await maximumBytes(max, bytesOfCache) }),
      ...(shares === undefined ? {} : { shares }),
      ...(isEmpty ? {} : { writeBack }),
      dryRun: this.options.dryRun,
    }
  }
}

type Flags = InferredFlags<typeof PolicySet.flags>
