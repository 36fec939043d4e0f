/**
 * hypervisor/: how vmcache reaches VMs. A {@link VmDriver} starts, stops and finds them; whatever runs a VM, it is a QEMU with a monitor,
 * and all that is done to its disks (observe, insert, remove, renew) goes through the monitor alone, by QEMU's block graph.
 */
import type { Clock } from '../base/clock.js'
import type { VmLoad } from '../model/idleness.js'
import type { DriverName, VmDefinition } from '../model/vm.js'

/** A VM as a driver knows it. */
export interface VmIdentity {
  /** Never changes. */
  readonly uuid: string
  /** A label. */
  readonly name: string
  /** Of a VM that vmcache runs itself; null for others. */
  readonly definition: VmDefinition | null
  /** URI of the hypervisor's connection; null for the driver's own. */
  readonly connect: string | null
}

/** A disk as the VM's definition has it, running or not. */
export interface DeclaredDisk {
  /** `vda`. */
  readonly target: string
  /** QEMU's id of the device; null where the VM is off and nobody knows yet. */
  readonly device: string | null
  /** Absolute path of its image or block device; null where its storage is something else, or there is no medium. */
  readonly path: string | null
  /** Whether the VM is stopped when a request fails; else the guest sees the error. */
  readonly stopsOnError: boolean
  /** Whether the guest's trims reach the storage. */
  readonly discard: boolean
  /** How QEMU reads and writes the storage (`native`, `io_uring` ...); null for its default. */
  readonly io: string | null
  /** Why it stays direct whatever the block graph says: `medium`, `shareable` ...; null where nothing is known against it. */
  readonly whyDirect: string | null
}

export interface DeclaredVm {
  /** Of the definition as it is now: somebody may have renamed the VM. */
  readonly name: string
  readonly memoryBytes: number
  readonly disks: readonly DeclaredDisk[]
}

/** The way into a running QEMU. */
export interface VmMonitor {
  /** What the command returns; HYPERVISOR with QEMU's words where it fails, or where no answer comes in time (`details.timeout`). */
  execute(command: string, args?: object, options?: { timeoutMilliseconds?: number }): Promise<unknown>
  /**
   * Out of band: breaks the connection of an NBD node, so that whoever waits for its server waits no longer. Null where the driver has no
   * second monitor.
   */
  readonly yank: ((node: string) => Promise<void>) | null
}

export interface DriverCapabilities {
  /** Runs VMs that vmcache defines; others only take over what is defined elsewhere. */
  readonly definesVms: boolean
  /** Its monitors have {@link VmMonitor.yank}. */
  readonly outOfBand: boolean
  /** A look through its monitors costs next to nothing; else it costs a process. */
  readonly cheapMonitors: boolean
}

/** Watching the memory of a VM on its way. */
export interface MemoryWatch {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly progress: (doneBytes: number, totalBytes: number) => void
}

/** The memory that a VM is to have again. */
export interface SavedMemory {
  /** Path of a unix socket at which it is sent, once, to whoever connects. */
  readonly socket: string
  /** What {@link VmDriver.lastingDefinition} said when it was saved. */
  readonly definition: string | null
  /**
   * Called when there is a QEMU and nothing of the guest has run, be it before its memory is loaded or after that. Where it throws, the VM ends.
   */
  readonly prepare: (monitor: VmMonitor) => Promise<void>
}

/** Every call throws VmcacheError: VM_NOT_FOUND where there is no such VM, HYPERVISOR where the hypervisor refuses, fails or hangs. */
export interface VmDriver {
  readonly name: DriverName
  readonly capabilities: DriverCapabilities
  /** The VM that is called so, or has that UUID. */
  find(nameOrUuid: string, connect: string | null): Promise<{ readonly uuid: string; readonly name: string }>
  declared(vm: VmIdentity): Promise<DeclaredVm>
  /** Null where the VM is off. */
  monitor(vm: VmIdentity): Promise<VmMonitor | null>
  /** What those of the VMs that run now have done, by UUID. One whose hypervisor does not answer is left out. */
  loads(vms: readonly VmIdentity[]): Promise<ReadonlyMap<string, VmLoad>>
  /** Starts it stopped: the guest has not run yet, and its disks may be changed before it does. */
  startPaused(vm: VmIdentity): Promise<void>
  /** Lets a stopped VM go on; does nothing to one that runs. */
  resume(vm: VmIdentity): Promise<void>
  /**
   * What a running VM consists of, for {@link restore}: its definition may have changed by then. Null where that does not happen. REFUSED where
   * the VM could not have its memory again: nothing would be left of it, or it is on another machine.
   */
  lastingDefinition(vm: VmIdentity): Promise<string | null>
  /** The directory for the sockets that the memory of a VM goes through, which is there from now on. Only we and its QEMU may enter. */
  memoryDirectory(vm: VmIdentity): Promise<string>
  /**
   * Has the memory of a stopped VM sent to whoever listens at `socket`, and ends when all of it was. HYPERVISOR where that fails, INTERRUPTED
   * where `signal` was raised; the VM can go on in any case.
   */
  save(vm: VmIdentity, socket: string, watch: MemoryWatch): Promise<void>
  /**
   * Starts a VM with the memory that was saved of it, stopped: it goes on by {@link resume}. Where that fails, HYPERVISOR or INTERRUPTED, it is
   * off as before.
   */
  restore(vm: VmIdentity, memory: SavedMemory, watch: MemoryWatch): Promise<void>
  /**
   * Has the agent of a running guest set its clock to that of this host. False where the VM has no agent; HYPERVISOR where that does not do it
   * before `signal` is raised.
   */
  setGuestClock(vm: VmIdentity, signal: AbortSignal): Promise<boolean>
  /** Presses its power button; what the guest does then is its own business. */
  powerDown(vm: VmIdentity): Promise<void>
  /** Ends it at once, as a power cut would. */
  destroy(vm: VmIdentity): Promise<void>
  /** From now on changes of these VMs are told to the driver's listener; others no longer. */
  watch(vms: readonly VmIdentity[]): void
  /** Lets go of all VMs; they run on. */
  close(): Promise<void>
}

/**
 * Called when something may have changed: a VM was started, stopped, ended, or met an I/O error. Says too much rather than too little. `vm`: its
 * name or UUID; null where it may be any.
 */
export type VmListener = (vm: string | null) => void
