import { VmcacheError } from '../base/errors.js'

export const DRIVER_NAMES = ['qemu', 'libvirt'] as const
/** What runs a VM: vmcache itself, or libvirt. */
export type DriverName = (typeof DRIVER_NAMES)[number]

/** `io-error`: QEMU has stopped the VM because a request of one of its disks failed. */
export type VmState = 'running' | 'paused' | 'io-error' | 'off'

export const ACCELERATORS = ['kvm', 'tcg'] as const
export type Accelerator = (typeof ACCELERATORS)[number]

export const IMAGE_FORMATS = ['raw', 'qcow2'] as const
export type ImageFormat = (typeof IMAGE_FORMATS)[number]

/** A disk as the definition of a VM has it. */
export interface DefinedDisk {
  /** What the guest calls it: `vda`. */
  readonly target: string
  /** Absolute path of an image file or a block device. */
  readonly path: string
  readonly format: ImageFormat
}

/** A VM that vmcache runs itself. */
export interface VmDefinition {
  readonly memoryBytes: number
  readonly cpus: number
  readonly accelerator: Accelerator
  readonly disks: readonly DefinedDisk[]
  /** Boots this kernel in place of the first disk. */
  readonly kernel: string | null
  readonly initrd: string | null
  readonly append: string | null
  /** Further arguments of QEMU, as they are. */
  readonly qemuArguments: readonly string[]
}

/** Longest name of a VM, in characters. */
const MAXIMUM_VM_NAME = 64
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** Returns `name` if a VM may be called so; BAD_NAME otherwise. A disk's name begins with that of its VM. */
export function checkedVmName(name: string): string {
  if (name.length <= MAXIMUM_VM_NAME && NAME.test(name)) return name
  throw new VmcacheError('BAD_NAME', `VM name ${JSON.stringify(name)} is not valid`, {
    hint: `use 1 to ${MAXIMUM_VM_NAME} characters: letters, digits, ".", "_" and "-", beginning with a letter or digit`,
  })
}

/** What the guest calls its disk number `index`: `vda`, `vdb` ... `vdaa`. */
export function targetOf(index: number): string {
  const letter = String.fromCharCode('a'.charCodeAt(0) + (index % 26))
  return index < 26 ? `vd${letter}` : `${targetOf(Math.floor(index / 26) - 1)}${letter}`
}
