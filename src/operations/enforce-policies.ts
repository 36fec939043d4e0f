import type { CheckpointDestination } from '../model/checkpoint.js'
import type { CheckpointRecord } from '../state/checkpoint-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { isAt } from './checkpoint-place.js'
import type { ControlPlane } from './control-plane.js'
import { idleSecondsOf } from './observe-activities.js'
import type { Operations } from './operation.js'
import { nextTime } from './schedule.js'

/** A VM that could not be suspended is left alone for so long: trying costs it a moment each time. */
const AGAIN_MILLISECONDS = 3_600_000

/** How fast storage is taken to be at the least, and how long before its time memory is in the cache again. */
const STORAGE_BYTES_PER_SECOND = 50e6
const AHEAD_MILLISECONDS = 120_000

/**
 * Does what policies want of VMs by themselves, one VM after the other: resumes and suspends them at their times, suspends idle ones, and moves the
 * memory of suspended ones to storage and back.
 */
export interface PolicyEnforcer {
  /** Calls do not overlap: one that comes while another works does nothing. A time is met by the first call after it. */
  enforce(): Promise<void>
  /** Ends what is under way; a VM that is being suspended goes on. */
  stop(): Promise<void>
}

export function createPolicyEnforcer(
  plane: ControlPlane,
  operations: Pick<Operations, 'vm.suspend' | 'vm.resume' | 'checkpoint.move'>,
): PolicyEnforcer {
  const { clock, inventory } = plane
  const abort = new AbortController()
  const triedAt = new Map<string, number>()
  /** When memory was last to be moved, by checkpoint. */
  const movedAt = new Map<string, number>()
  // What was due while no engine ran is not made up for.
  let lookedAt = clock.now()
  let working: Promise<void> | null = null

  const context = (who: string) => ({ who, progress: () => {}, signal: abort.signal })
  const only = ({ name }: VmRecord) => ({
    ...{ names: [name], all: false, exclude: [], dryRun: false },
    ...{ perHour: null, atOnce: 1 },
  })
  const isIdle = ({ uuid, policy: { idleTimeoutSeconds } }: VmRecord): boolean => {
    if (idleTimeoutSeconds === null || inventory.checkpoints.has(uuid)) return false
    if (clock.monotonic() - (triedAt.get(uuid) ?? -Infinity) < AGAIN_MILLISECONDS) return false
    return (idleSecondsOf(plane, { uuid }) ?? -1) >= idleTimeoutSeconds
  }
  const suspend = async (vm: VmRecord, idleSeconds: number | null, who: string): Promise<void> => {
    triedAt.set(vm.uuid, clock.monotonic())
    await operations['vm.suspend']({ ...only(vm), idleSeconds }, context(who)).catch(() => {})
    // One that goes on and is idle again is another time.
    if (inventory.checkpoints.has(vm.uuid)) triedAt.delete(vm.uuid)
  }
  const move = async (vm: VmRecord): Promise<void> => {
    const checkpoint = inventory.checkpoints.get(vm.uuid)
    const to = checkpoint === undefined ? null : wantedPlace(vm, checkpoint, clock.now())
    if (checkpoint === undefined || to === null) return
    if (clock.monotonic() - (movedAt.get(checkpoint.id) ?? -Infinity) < AGAIN_MILLISECONDS) return
    movedAt.set(checkpoint.id, clock.monotonic())
    const { results } = await operations['checkpoint.move'](
      { names: [vm.name], all: false, exclude: [], to, dryRun: false },
      context('policy'),
    )
    if (results.every(({ ok }) => ok)) movedAt.delete(checkpoint.id)
  }
  const work = async (): Promise<void> => {
    const [from, until] = [lookedAt, clock.now()]
    lookedAt = until
    const vms = [...inventory.vms.values()]
    const due = new Map(vms.map((vm) => [vm, dueOf(vm, from, until)]))
    // Somebody may wait for what is resumed.
    for (const vm of vms.filter((vm) => due.get(vm) === 'resume' && inventory.checkpoints.has(vm.uuid))) {
      if (!abort.signal.aborted) await operations['vm.resume'](only(vm), context('schedule')).catch(() => {})
    }
    for (const vm of vms) if (!abort.signal.aborted) await move(vm).catch(() => {})
    for (const vm of vms) {
      if (abort.signal.aborted) return
      const isRunning = inventory.activities.has(vm.uuid)
      if (due.get(vm) === 'suspend' && isRunning) await suspend(vm, null, 'schedule')
      else if (isIdle(vm)) await suspend(vm, vm.policy.idleTimeoutSeconds, 'policy')
    }
  }

  return {
    enforce() {
      if (abort.signal.aborted) return Promise.resolve()
      working ??= work().finally(() => (working = null))
      return working
    },
    async stop() {
      abort.abort()
      await working
    },
  }
}

/** Where the memory of a suspended VM should go now; null where it is well where it is. */
function wantedPlace({ policy }: VmRecord, checkpoint: CheckpointRecord, now: number): CheckpointDestination | null {
  const { storageAfterSeconds, resumeAt, timeZone } = policy
  if (storageAfterSeconds === null || checkpoint.state !== 'suspended') return null
  const next = resumeAt === null ? null : nextTime({ expression: resumeAt, timeZone }, now)
  const needed = AHEAD_MILLISECONDS + (checkpoint.bytes / STORAGE_BYTES_PER_SECOND) * 1000
  const isSoon = next !== null && next - now <= needed
  if (isAt(checkpoint.place, 'storage')) return isSoon ? 'local' : null
  const isLong = now - Date.parse(checkpoint.createdAt) >= storageAfterSeconds * 1000
  return isLong && !isSoon ? 'storage' : null
}

/** What the schedules of a VM wanted last after `from` and not after `until`; null where it was nothing. */
function dueOf({ policy }: VmRecord, from: number, until: number): 'suspend' | 'resume' | null {
  const { suspendAt, resumeAt, timeZone } = policy
  const timeOf = (expression: string | null): number => {
    const next = expression === null ? null : nextTime({ expression, timeZone }, from)
    return next !== null && next <= until ? next : -Infinity
  }
  const [suspend, resume] = [timeOf(suspendAt), timeOf(resumeAt)]
  if (suspend === -Infinity && resume === -Infinity) return null
  return resume >= suspend ? 'resume' : 'suspend'
}
