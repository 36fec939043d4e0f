import { string } from '@oclif/core/flags'
import { VmcacheError } from '../../base/errors.js'
import { ChangeCommand } from '../../cli/base-command.js'
import { diskFlags, optionalArgument, switchFlag } from '../../cli/flags.js'
import { givenDiskSettings } from '../../cli/given-settings.js'
import { isInteractive } from '../../cli/interactive.js'
import { missingWithoutTerminal } from '../../cli/missing.js'
import { absoluteOrigin } from '../../cli/origin.js'
import { givenUp, writeBackFlags } from '../../cli/write-back-flags.js'
import { checkedCacheName, checkedDiskName } from '../../model/names.js'
import { targetsText } from '../../cli/views/targets-view.js'
import type {
  AttachRequest,
  ChangeResult,
  DiskDocument,
  JobDocument,
  TargetResult,
} from '../../protocol/control/documents.js'

type Given = Omit<AttachRequest, 'cache' | 'origin'> & { cache: string | null; origin: string | null }
type AttachedDisk = ChangeResult & { disk: DiskDocument | null }
type AttachedDisks = ChangeResult & { results: TargetResult[]; disks: DiskDocument[] }

export default class CacheAttach extends ChangeCommand {
  static override summary = 'Serve a disk through a cache, and print the NBD URI for its clients.'
  static override description =
    'ORIGIN is an image file, a block device or an NBD URI. The attachment holds over restarts of VM, engine and host ' +
    'until the disk is detached. What is given is set of the disk itself; what is not is inherited from its VM, its cache and its ' +
    'host (vmcache policy show). Without arguments, on a terminal, it asks for everything.'
  static override examples = [
    '<%= config.bin %> cache attach fast /images/web01.raw',
    {
      description: 'A share of the cache, and a name',
      command: '<%= config.bin %> cache attach fast /dev/vg0/db01 --name db01/vda --min 20% --max 100g',
    },
    {
      description: 'An image that many VMs read',
      command: '<%= config.bin %> cache attach fast /images/debian-13.raw --read-only',
    },
    {
      description:
        'Writes are answered by the cache; at most 4 GB of them, and none older than 30 s, wait for the storage',
      command: '<%= config.bin %> cache attach fast /dev/vg0/db02 --mode write-back --dirty-high 4g --dirty-age 30s',
    },
    {
      description: 'The disks of a VM, while it runs; it notices nothing',
      command: '<%= config.bin %> cache attach fast --vm web01',
    },
    {
      description: 'What qemu-nbd serves (qcow2, RBD, iSCSI)',
      command: "<%= config.bin %> cache attach fast 'nbd+unix:///?socket=/run/web01.sock' --name web01/vda",
    },
  ]
  static override args = {
    cache: optionalArgument('Name of the cache.'),
    origin: optionalArgument('Image file, block device or NBD URI.'),
  }
  static override flags = {
    vm: string({
      summary: 'Serve disks of this VM, live where it runs, in place of an ORIGIN.',
      helpValue: 'VM',
      exclusive: ['name', 'read-only'],
    }),
    target: string({
      summary: 'Only this disk of the VM, such as vda (may be given several times); all that can be, where not given.',
      helpValue: 'TARGET',
      multiple: true,
      multipleNonGreedy: true,
      dependsOn: ['vm'],
    }),
    name: string({ summary: "Name of the disk; the image's base name where not given.", helpValue: 'DISK' }),
    ...diskFlags,
    ...writeBackFlags,
    'read-only': switchFlag({ summary: 'Serve it read-only, to any number of clients.' }),
    exclusive: switchFlag({
      summary: 'Nobody else ever writes the origin: its clean pages are trusted after a power cut.',
    }),
  }

  async run(): Promise<AttachedDisk | AttachedDisks | JobDocument> {
    const { args, flags } = await this.parse(CacheAttach)
    const bytesOfCache = async (): Promise<number> =>
      (await this.ask('cache.show', { name: args.cache ?? '' })).sizeBytes
    const given = {
      cache: args.cache === undefined ? null : checkedCacheName(args.cache),
      origin: args.origin === undefined ? null : absoluteOrigin(args.origin),
      name: flags.name === undefined ? null : checkedDiskName(flags.name),
      ...(await givenDiskSettings(flags, bytesOfCache)),
      readOnly: flags['read-only'],
      exclusive: flags.exclusive,
      dryRun: this.options.dryRun,
    }
    if (flags.vm !== undefined) return this.#attachVm(given, flags.vm, flags.target ?? [])
    const request = await this.#complete(given)
    this.announce(givenUp(request.writeBack ?? {}))
    return this.change(
      'cache.attach',
      request,
      ({ disk, changed }) =>
        disk === null ? '' : `${disk.disk} ${changed ? 'is' : 'was already'} served through ${disk.cache}`,
      { data: ({ disk }) => disk?.uri ?? '' },
    )
  }

  async #attachVm(given: Given, vm: string, targets: string[]): Promise<AttachedDisks | JobDocument> {
    const { cache, origin, name: _, readOnly: __, ...settings } = given
    if (cache === null) throw missingWithoutTerminal('cache attach', ['CACHE'])
    if (origin !== null) throw new VmcacheError('USAGE', 'an origin and --vm do not go together')
    this.announce(givenUp(settings.writeBack ?? {}))
    return this.change(
      'vm.attach',
      { ...settings, cache, vm, targets },
      ({ results }) => targetsText(results, `served through ${cache}`),
      { data: ({ disks }) => disks.map(({ uri }) => uri).join('\n') },
    )
  }

  async #complete(given: Given): Promise<AttachRequest> {
    const { cache, origin } = given
    if (cache !== null && origin !== null) return { ...given, cache, origin }
    const names = [...(cache === null ? ['CACHE'] : []), ...(origin === null ? ['ORIGIN'] : [])]
    if (!isInteractive() || this.options.json) throw missingWithoutTerminal('cache attach', names)
    const { attachWizard } = await import('../../cli/wizard/attach-wizard.js')
    const { caches } = await this.ask('cache.list', {})
    const { disks } = await this.ask('disk.list', {})
    return attachWizard(given, { caches, disks, yes: this.options.yes })
  }
}
