import type { Clock } from '../base/clock.js'
import type { Random } from '../base/random.js'
import type { Engine } from '../engine/engine.js'
import type { VmDriver } from '../hypervisor/driver.js'
import type { IdleLimits } from '../model/idleness.js'
import type { DriverName } from '../model/vm.js'
import type { JobDocument } from '../protocol/control/documents.js'
import type { StateStore } from '../state/state-store.js'
import type { Inventory } from './inventory.js'
import type { Journal } from './journal.js'
import type { Machine } from './machine.js'
import type { ImageLocks, SocketKeeper } from './operation.js'
import type { ObserveOrigin } from './observe-origin.js'
import type { PreviousEnd } from './previous-end.js'
import type { Stamps } from './stamps.js'
import type { SuspendQueue } from './suspend-queue.js'

/** What operations are given by the process that runs them. */
/** VMs that libvirt must not start, as they would run without their memory: read by its hook, also while no engine runs. */
export interface SuspendedList {
  /** On stable storage when it ends. */
  write(vms: readonly { readonly uuid: string; readonly name: string }[]): Promise<void>
}

export interface OperationsDependencies {
  readonly engine: Engine
  readonly state: StateStore
  /** `id`: 32 hexadecimal digits, for ever; `name`: its label. */
  readonly host: { readonly id: string; readonly name: string }
  readonly stateDirectory: string
  /** Where checkpoints go that are to be on storage; null where nothing is. */
  readonly checkpointDirectory: string | null
  /** Sockets of disks lie in its `disks/`. */
  readonly runDirectory: string
  readonly controlSocket: string
  readonly sockets: SocketKeeper
  /** Keeps libvirt from starting suspended domains. */
  readonly suspendedList: SuspendedList
  readonly locks: ImageLocks
  readonly clock: Clock
  readonly random: Random
  readonly version: string
  /** How the engine before this one ended, as the supervisor saw it. */
  readonly previousEnd: PreviousEnd
  /** Why disks are served without their caches (engines that use them cannot start); null where they are served through them. */
  readonly withoutCaches: string | null
  /** Jobs that run now. */
  readonly runningJobs: () => readonly JobDocument[]
  readonly machine: Machine
  readonly drivers: Readonly<Record<DriverName, VmDriver>>
  readonly idleLimits: IdleLimits
}

/** What all operations of an engine share. */
export interface ControlPlane extends OperationsDependencies {
  readonly inventory: Inventory
  readonly stamps: Stamps
  readonly journal: Journal
  readonly suspendQueue: SuspendQueue
  /** Ends when the list says who is suspended. */
  readonly listSuspended: () => Promise<void>
  readonly observe: ObserveOrigin
  /** RFC 3339. */
  readonly startedAt: string
  phase: 'starting' | 'running' | 'stopping'
}
