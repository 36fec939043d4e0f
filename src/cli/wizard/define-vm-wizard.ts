import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { formatSize } from '../../base/units.js'
import { ACCELERATORS, checkedVmName, IMAGE_FORMATS } from '../../model/vm.js'
import type { DefineVmRequest, VmDocument } from '../../protocol/control/documents.js'
import { commandLine } from '../command-line.js'
import { confirmed } from '../confirm.js'
import { talk } from '../output.js'
import { ON_STDERR, askSize, typedSize, validated } from './ask.js'

type DefinedDisk = DefineVmRequest['disks'][number]

type Draft = Omit<DefineVmRequest, 'name' | 'memoryBytes'> & {
  readonly name: string | null
  readonly memoryBytes: number | null
}

/** Asks for what `draft` lacks, shows what will be defined, and how to do it without being asked. */
export async function defineVmWizard(
  draft: Draft,
  { vms, yes }: { readonly vms: readonly VmDocument[]; readonly yes: boolean },
): Promise<DefineVmRequest> {
  const isNew = draft.disks.length === 0
  const name = draft.name ?? (await askName(vms))
  const memoryBytes = draft.memoryBytes ?? (await askSize('Memory', '2g'))
  const disks = isNew ? await askDisks() : draft.disks
  const accelerator = isNew ? await askAccelerator(draft.accelerator) : draft.accelerator
  const request: DefineVmRequest = { ...draft, name, memoryBytes, disks, accelerator }
  const parts = disks.map(({ path, format }) => `${path} (${format})`)
  talk(`VM ${name}: ${formatSize(memoryBytes)} of memory, ${accelerator}, disks ${parts.join(', ')}`)
  if (!yes && !draft.dryRun) await confirmed(`Define ${name}?`, true)
  talk(`The same without questions:\n  ${defineCommandLine(request)}`)
  return request
}

async function askName(vms: readonly VmDocument[]): Promise<string> {
  const { input } = await import('@inquirer/prompts')
  const isFree = (name: string): void => {
    checkedVmName(name)
    if (vms.some((vm) => vm.name === name)) throw new VmcacheError('VM_EXISTS', `there is a VM ${name} already`)
  }
  return (await input({ message: 'Name of the VM', validate: validated(isFree) }, ON_STDERR)).trim()
}

async function askDisks(): Promise<DefinedDisk[]> {
  const { input, select } = await import('@inquirer/prompts')
  const disks: DefinedDisk[] = []
  for (;;) {
    const message = disks.length === 0 ? 'Image file or block device' : 'Another one (Enter: no more)'
    const isLast = (text: string): boolean => text === '' && disks.length > 0
    const typed = await input({ message, validate: validated((text) => isLast(text) || checkedImage(text)) }, ON_STDERR)
    if (isLast(typed.trim())) return disks
    const path = resolve(typed.trim())
    const guess = path.endsWith('.qcow2') ? 'qcow2' : 'raw'
    const choices = IMAGE_FORMATS.map((value) => ({ value }))
    disks.push({ path, format: await select({ message: 'Format', choices, default: guess }, ON_STDERR) })
  }
}

/** Throws USAGE where it is not there or is a directory. */
function checkedImage(text: string): void {
  const status = text === '' ? undefined : statSync(resolve(text), { throwIfNoEntry: false })
  if (status === undefined) throw new VmcacheError('USAGE', `${text === '' ? 'that' : resolve(text)} is not there`)
  if (status.isDirectory()) throw new VmcacheError('USAGE', `${resolve(text)} is a directory: expected an image`)
}

async function askAccelerator(initial: DefineVmRequest['accelerator']): Promise<DefineVmRequest['accelerator']> {
  const { select } = await import('@inquirer/prompts')
  const meaning = { kvm: 'on the processors of this machine', tcg: 'in software: slow, and everywhere' }
  const choices = ACCELERATORS.map((value) => ({ value, name: value, description: meaning[value] }))
  return select({ message: 'How its processors run', choices, default: initial }, ON_STDERR)
}

/** The command line that makes the request. */
export function defineCommandLine(request: DefineVmRequest): string {
  const { name, memoryBytes, cpus, accelerator, disks, kernel, initrd, append, qemuArguments } = request
  return commandLine([
    ...['vm', 'define', name, '--memory', typedSize(memoryBytes)],
    ...disks.flatMap(({ path, format }) => ['--disk', format === 'raw' ? path : `${path},format=${format}`]),
    ...(cpus === 1 ? [] : ['--cpus', String(cpus)]),
    ...(accelerator === 'kvm' ? [] : ['--accel', accelerator]),
    ...(kernel === null ? [] : ['--kernel', kernel]),
    ...(initrd === null ? [] : ['--initrd', initrd]),
    ...(append === null ? [] : ['--append', append]),
    ...(qemuArguments.length === 0 ? [] : ['--', ...qemuArguments]),
  ])
}
