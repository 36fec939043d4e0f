import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckpointSource, EngineCheckpoint } from '../engine/checkpoint.js'
import type { SavedMemory } from '../hypervisor/driver.js'
import type { CheckpointPlace } from '../model/checkpoint.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'
import type { OperationContext } from './operation.js'

/** The memory of a VM on its way between QEMU and a place for checkpoints: both ends have to do with it, and where one fails the other is told. */

type Watch = Pick<OperationContext, 'progress' | 'signal'>

/** Writes the memory of a stopped VM to a checkpoint, and ends when that is on stable storage and was verified. */
export async function writeMemory(
  plane: ControlPlane,
  vm: VmRecord,
  place: CheckpointPlace,
  checkpoint: Pick<CheckpointSource, 'id' | 'attributes' | 'bytes'>,
  { progress, signal }: Watch,
): Promise<EngineCheckpoint> {
  const { clock, engine } = plane
  const socket = await socketFor(plane, vm)
  const source = { ...checkpoint, vm: vm.uuid, name: vm.name, socket }
  return bothEnds(
    signal,
    (ready, abort) => engine.writeCheckpoint(place, source, { ready, progress: () => {}, signal: abort }),
    (abort) =>
      driverOf(plane, vm).save(vm, socket, {
        clock,
        signal: abort,
        progress: (done, total) => progress(done, total, 'bytes', vm.name),
      }),
  )
}

/** Starts a VM with the memory in its checkpoint, stopped. Where that fails it may be there still. */
export async function readMemory(
  plane: ControlPlane,
  vm: VmRecord,
  { place, id, definition }: CheckpointRecord,
  prepare: SavedMemory['prepare'],
  { progress, signal }: Watch,
): Promise<void> {
  const { clock, engine } = plane
  const socket = await socketFor(plane, vm)
  await bothEnds(
    signal,
    (ready, abort) => engine.readCheckpoint(place, id, socket, { ready, progress, signal: abort }),
    (abort) =>
      driverOf(plane, vm).restore(vm, { socket, definition, prepare }, { clock, signal: abort, progress: () => {} }),
  )
}

/**
 * Waits for both ends; that of QEMU begins when the other says that it is ready. Where one fails the other is cancelled. The engine says more
 * about what went wrong than QEMU, which sees a connection that ends.
 */
async function bothEnds<Result>(
  signal: AbortSignal,
  ofEngine: (ready: () => void, abort: AbortSignal) => Promise<Result>,
  ofQemu: (abort: AbortSignal) => Promise<void>,
): Promise<Result> {
  const abort = new AbortController()
  const either = AbortSignal.any([signal, abort.signal])
  const cancelsOther = async <End>(end: Promise<End>): Promise<End> => {
    try {
      return await end
    } catch (error) {
      abort.abort()
      throw error
    }
  }
  let moving: Promise<void> = Promise.resolve()
  const ready = (): void => {
    moving = cancelsOther(ofQemu(either))
    moving.catch(() => {})
  }
  const [kept] = await Promise.allSettled([cancelsOther(ofEngine(ready, either))])
  const [moved] = await Promise.allSettled([moving])
  const failures = [kept, moved].flatMap((end) => (end.status === 'rejected' ? [asVmcacheError(end.reason)] : []))
  const failure = failures.find(({ code }) => code !== 'INTERRUPTED') ?? failures[0]
  if (failure !== undefined) throw failure
  return (kept as PromiseFulfilledResult<Result>).value
}

/** An engine that was killed while it listened there has left the file. */
async function socketFor(plane: ControlPlane, vm: VmRecord): Promise<string> {
  const socket = join(await driverOf(plane, vm).memoryDirectory(vm), 'memory')
  await rm(socket, { force: true })
  return socket
}
