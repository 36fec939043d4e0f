import { resolve } from 'node:path'
import { option, string } from '@oclif/core/flags'
import { ChangeCommand } from '../../cli/base-command.js'
import { countFlag, optionalArgument, sizeFlag } from '../../cli/flags.js'
import { isInteractive } from '../../cli/interactive.js'
import { missingWithoutTerminal } from '../../cli/missing.js'
import { qemuArguments } from '../../cli/qemu-arguments.js'
import { parseVmDisk } from '../../cli/vm-disk.js'
import { ACCELERATORS, checkedVmName } from '../../model/vm.js'
import type { ChangeResult, DefineVmRequest, JobDocument, VmDocument } from '../../protocol/control/documents.js'

type Given = Omit<DefineVmRequest, 'name' | 'memoryBytes'> & { name: string | null; memoryBytes: number | null }

export default class VmDefine extends ChangeCommand {
  static override summary = 'Define a VM that vmcache runs itself.'
  static override description =
    'It becomes a QEMU process of its own, which outlives the engine. Its disks are vda, vdb ... in the order in which they are given; ' +
    'nothing is written to them. What follows -- is given to QEMU as it is. Without NAME, --memory and --disk, on a terminal, it asks for them.'
  static override examples = [
    '<%= config.bin %> vm define web01 --memory 4g --cpus 2 --disk /images/web01.raw',
    {
      description: 'A network card, and a console on a socket',
      command:
        '<%= config.bin %> vm define web02 --memory 4g --disk /dev/vg0/web02 -- -nic bridge,br=br0 -serial unix:/run/web02.tty,server=on,wait=off',
    },
  ]
  static override args = { name: optionalArgument('Name of the new VM.') }
  static override flags = {
    memory: sizeFlag({ summary: 'Memory of the VM.' }),
    disk: string({
      summary: 'An image or block device (may be given several times); PATH,format=qcow2 for what is not raw.',
      helpValue: 'DISK',
      multiple: true,
      multipleNonGreedy: true,
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
    const request = await this.#complete({
      name: args.name === undefined ? null : checkedVmName(args.name),
      memoryBytes: flags.memory ?? null,
      cpus: flags.cpus ?? 1,
      accelerator: flags.accel ?? 'kvm',
      disks: (flags.disk ?? []).map(parseVmDisk),
      kernel: file(flags.kernel),
      initrd: file(flags.initrd),
      append: flags.append ?? null,
      qemuArguments: further.after,
      dryRun: this.options.dryRun,
    })
    return this.change(
      'vm.define',
      request,
      ({ changed }) => `${request.name} ${changed ? 'is' : 'was already'} defined`,
    )
  }

  async #complete(given: Given): Promise<DefineVmRequest> {
    const { name, memoryBytes, disks } = given
    if (name !== null && memoryBytes !== null && disks.length > 0) return { ...given, name, memoryBytes }
    const names = [
      ...(name === null ? ['NAME'] : []),
      ...(memoryBytes === null ? ['--memory'] : []),
      ...(disks.length === 0 ? ['--disk'] : []),
    ]
    if (!isInteractive() || this.options.json) throw missingWithoutTerminal('vm define', names)
    const { defineVmWizard } = await import('../../cli/wizard/define-vm-wizard.js')
    const { vms } = await this.ask('vm.list', {})
    return defineVmWizard(given, { vms, yes: this.options.yes })
  }
}
