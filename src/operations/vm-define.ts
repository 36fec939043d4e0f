import { isAbsolute } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { VmcacheError } from '../base/errors.js'
import { checkedVmName, targetOf, type VmDefinition } from '../model/vm.js'
import type { DefineVmRequest } from '../protocol/control/documents.js'
import type { VmRecord } from '../state/vm-store.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { vmNames } from './known-vm.js'
import type { Operations } from './operation.js'
import { policyOfVm } from './policies.js'
import { vmDocument } from './vm-document.js'

const MEBIBYTE = 2 ** 20

/** Makes a VM known that vmcache runs itself. Its disks are what they are: nothing is written to them. */
export function vmDefine(plane: ControlPlane): Operations['vm.define'] {
  const { clock, host, inventory, random, state } = plane
  return async (request) => {
    const name = checkedVmName(request.name)
    const definition = await definitionOf(plane, request)
    const existing = [...inventory.vms.values()].find((vm) => vm.name === name)
    if (existing !== undefined) {
      refuseDifference(existing, definition)
      const unchanged = { changed: false, vm: await vmDocument(plane, existing) }
      return request.dryRun ? { ...unchanged, dryRun: true, steps: [] } : unchanged
    }
    if (request.dryRun) return { changed: true, dryRun: true, steps: [`define VM ${name}`], vm: null }
    const createdAt = new Date(clock.now()).toISOString()
    const uuid = uuidOf(random.id())
    const policy = policyOfVm(inventory.policies, uuid)
    const vm: VmRecord = { host: host.id, uuid, name, driver: 'qemu', connect: null, definition, policy, createdAt }
    await exclusively(inventory, `vm ${name}`, async () => {
      await state.vms.save(vm)
      inventory.vms.set(uuid, vm)
    })
    return { changed: true, vm: await vmDocument(plane, vm) }
  }
}

async function definitionOf(plane: ControlPlane, request: DefineVmRequest): Promise<VmDefinition> {
  const { memoryBytes, cpus, accelerator, kernel, initrd, append, qemuArguments } = request
  if (memoryBytes < MEBIBYTE || memoryBytes % MEBIBYTE !== 0) {
    throw new VmcacheError('USAGE', `memory of ${memoryBytes} bytes is not a whole number of MiB, and at least one`)
  }
  for (const path of [kernel, initrd]) {
    if (path === null || isAbsolute(path)) continue
    throw new VmcacheError('USAGE', `path ${JSON.stringify(path)} is not absolute`)
  }
  if (kernel === null && (initrd !== null || append !== null)) {
    throw new VmcacheError('USAGE', 'an initrd or kernel arguments are given, but no kernel')
  }
  const disks = await Promise.all(
    request.disks.map(async ({ path, format }, index) => {
      const seen = await plane.observe(path)
      if (seen.kind !== 'nbd') return { target: targetOf(index), path: seen.uri, format }
      throw new VmcacheError('USAGE', `disk ${path} is neither an image file nor a block device`)
    }),
  )
  const twice = disks.find(({ path }, index) => disks.findIndex((disk) => disk.path === path) !== index)
  if (twice !== undefined) throw new VmcacheError('USAGE', `disk ${twice.path} is given twice`)
  return { memoryBytes, cpus, accelerator, disks, kernel, initrd, append, qemuArguments }
}

function refuseDifference(existing: VmRecord, definition: VmDefinition): void {
  if (isDeepStrictEqual(existing.definition, definition)) return
  const what = existing.driver === 'qemu' ? 'is defined otherwise' : 'is a domain of libvirt'
  throw new VmcacheError('VM_EXISTS', `VM ${existing.name} ${what}`, {
    hint: `see: vmcache vm show ${existing.name}; define it anew after: vmcache vm delete ${existing.name}`,
    details: { is: existing.definition, wanted: definition },
  })
}

/** Refuses a name that another VM has. */
export function refuseTakenVmName({ inventory }: ControlPlane, name: string, uuid: string): void {
  const other = [...inventory.vms.values()].find((vm) => vm.name === name && vm.uuid !== uuid)
  if (other === undefined) return
  throw new VmcacheError('VM_EXISTS', `VM ${name} is known already, with UUID ${other.uuid}`, {
    hint: `names are ${vmNames(inventory).join(', ')}`,
  })
}

/** Random bits as a UUID of version 4 (RFC 9562, 5.4). */
function uuidOf(id: string): string {
  const variant = '89ab'[parseInt(id[16]!, 16) & 3]
  const bits = `${id.slice(0, 12)}4${id.slice(13, 16)}${variant}${id.slice(17)}`
  return bits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
