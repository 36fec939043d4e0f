import { resolve } from 'node:path'
import { option, string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { countFlag, requiredArgument, sizeFlag } from '../../cli/flags.js'
import { qemuArguments } from '../../cli/qemu-arguments.js'
import { parseVmDisk } from '../../cli/vm-disk.js'
import { ACCELERATORS, checkedVmName } from '../../model/vm.js'
import type { ChangeResult, JobDocument, VmDocument } from '../../protocol/control/documents.js'

export default class VmDefine extends ChangeCommand {
  static override summary = 'Define a VM that vmcache runs itself.'
  static override description =
    'It becomes a QEMU process of its own, which outlives the engine. Its disks are vda, vdb ... in the order in which they are given; ' +
    'nothing is written to them. What follows -- is given to QEMU as it is.'
  static override examples = [
    '<%= config.bin %> vm define web01 --memory 4g --cpus 2 --disk /images/web01.raw',
    {
      description: 'A network card, and a console on a socket',
      command:
        '<%= config.bin %> vm define web02 --memory 4g --disk /dev/vg0/web02 -- -nic bridge,br=br0 -serial unix:/run/web02.tty,server=on,wait=off',
    },
  ]
  static override args = { name: requiredArgument('Name of the new VM.') }
  static override flags = {
    memory: sizeFlag({ summary: 'Memory of the VM.', required: true }),
    disk: string({
      summary: 'An image or block device (may be given several times); PATH,format=qcow2 for what is not raw.',
      helpValue: 'DISK',
      multiple: true,
      multipleNonGreedy: true,
      required: true,
    }),
    cpus: countFlag({ minimum: 1, maximum: 4096, summary: 'Processors of the VM; 1 where not given.' }),
    accel: option({ options: ACCELERATORS, summary: 'How its processors run; kvm where not given.' })(),
    kernel: string({ summary: 'Boot this kernel instead of the first disk.', helpValue: 'FILE' }),
    initrd: string({ summary: 'With this initial RAM disk.', helpValue: 'FILE', dependsOn: ['kernel'] }),
    append: string({ summary: 'And these arguments.', helpValue: 'TEXT', dependsOn: ['kernel'] }),
  }

  async run(): Promise<(ChangeResult & { vm: VmDocument | null }) | JobDocument> {
    const further = qemuArguments(this.argv)
    const { args, flags } = await this.parse(VmDefine, further.before)
    const file = (path: string | undefined): string | null => (path === undefined ? null : resolve(path))
    const request = {
      name: checkedVmName(args.name),
      memoryBytes: flags.memory,
      cpus: flags.cpus ?? 1,
      accelerator: flags.accel ?? 'kvm',
      disks: flags.disk.map(parseVmDisk),
      kernel: file(flags.kernel),
      initrd: file(flags.initrd),
      append: flags.append ?? null,
      qemuArguments: further.after,
      dryRun: this.options.dryRun,
    }
    return this.change('vm.define', request, ({ changed }) => `${args.name} ${changed ? 'is' : 'was already'} defined`)
  }
}
