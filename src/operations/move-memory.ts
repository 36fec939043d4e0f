import { join } from 'node:path'
import type { CheckpointSource, EngineCheckpoint } from '../engine/checkpoint.js'
import type { VmMonitor } from '../hypervisor/driver.js'
import { loadMemory, saveMemory } from '../hypervisor/memory-stream.js'
import { vmsDirectory } from '../hypervisor/qemu/vm-paths.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import type { OperationContext } from './operation.js'

/** The memory of a VM on its way between QEMU and a cache: both ends have to do with it, and where one fails the other is told. */

type Watch = Pick<OperationContext, 'progress' | 'signal'>

/** Writes the memory of a stopped VM to a checkpoint, and ends when that is on stable storage and was verified. */
export async function writeMemory(
  plane: ControlPlane,
  vm: VmRecord,
  monitor: VmMonitor,
  cache: string,
  checkpoint: Pick<CheckpointSource, 'id' | 'attributes' | 'bytes'>,
  { progress, signal }: Watch,
): Promise<EngineCheckpoint> {
  const { clock, engine } = plane
  const socket = pathOf(plane, vm, 'memory')
  const source = { ...checkpoint, vm: vm.uuid, name: vm.name, socket }
  return bothEnds(
    signal,
    (ready, abort) => engine.writeCheckpoint(cache, source, { ready, progress: () => {}, signal: abort }),
    (abort) =>
      saveMemory(monitor, socket, {
        clock,
        signal: abort,
        progress: (done, total) => progress(done, total, 'bytes', vm.name),
      }),
  )
}

/** Gives a VM that awaits it the memory in its checkpoint. */
export async function readMemory(
  plane: ControlPlane,
  vm: VmRecord,
  monitor: VmMonitor,
  { cache, id }: CheckpointRecord,
  { progress, signal }: Watch,
): Promise<void> {
  const { clock, engine } = plane
  const socket = pathOf(plane, vm, 'memory')
  const incoming = pathOf(plane, vm, 'incoming')
  await bothEnds(
    signal,
    (ready, abort) => engine.readCheckpoint(cache, id, socket, { ready, progress, signal: abort }),
    (abort) => loadMemory(monitor, { socket, incoming }, { clock, signal: abort, progress: () => {} }),
  )
}

/**
 * Waits for both ends; that of QEMU begins when the other says that it is ready. Where one fails the other is cancelled. The cache says more
 * about what went wrong than QEMU, which sees a connection that ends.
 */
async function bothEnds<Result>(
  signal: AbortSignal,
  ofCache: (ready: () => void, abort: AbortSignal) => Promise<Result>,
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
  const [kept] = await Promise.allSettled([cancelsOther(ofCache(ready, either))])
  const [moved] = await Promise.allSettled([moving])
  const failures = [kept, moved].flatMap((end) => (end.status === 'rejected' ? [asVmcacheError(end.reason)] : []))
  const failure = failures.find(({ code }) => code !== 'INTERRUPTED') ?? failures[0]
  if (failure !== undefined) throw failure
  return (kept as PromiseFulfilledResult<Result>).value
}

function pathOf({ runDirectory }: ControlPlane, { uuid }: VmRecord, name: string): string {
  return join(vmsDirectory(runDirectory), uuid, name)
}
