import { isDeepStrictEqual } from 'node:util'
import { VmcacheError } from '../base/errors.js'
import { loadReplacement } from '../engine/replacement/modules.js'
import { MINIMUM_CHUNK_BYTES } from '../model/geometry.js'
import {
  diskPolicy,
  diskSettings,
  settingName,
  settingText,
  VM_SETTING_KEYS,
  type DiskPolicy,
  type DiskSettings,
  type Level,
  type Policy,
  type SettingKey,
} from '../model/policy.js'
import { policyText, type VmPolicy } from '../model/vm-policy.js'
import type { ChangeResult } from '../protocol/control/documents.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { VmRecord } from '../state/vm-store.js'
import { allocationOf, shareOf } from './allocation.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { storageDirectory } from './checkpoint-place.js'
import type { ControlPlane } from './control-plane.js'
import { drainDisk } from './drain-disk.js'
import { disksOf, exclusively, knownCache } from './inventory.js'
import { driverOf } from './known-vm.js'
import { checkLimits } from './limits.js'
import type { OperationContext } from './operation.js'
import { grantedMode, releaseIfComplete } from './origin-guard.js'
import {
  inheritedSettings,
  knowPolicy,
  policyKey,
  policyOf,
  policyOfDisk,
  policyOfVm,
  resolvedVm,
  type Policies,
} from './policies.js'
import { checkPromisedSpace, promisedChunks } from './promised-space.js'
import { watchVms } from './reconcile-vms.js'
import { reserveFor } from './reservation.js'
import { nextTime } from './schedule.js'
import { withUndo, type Undo } from './undo.js'
import { checkWriteBack, mostBytes } from './write-back-limits.js'

/** That of which something is set. */
export interface PolicyTarget {
  readonly level: Level
  /** As {@link policyKey} has it. */
  readonly object: string
  /** For people. */
  readonly name: string
}

export interface PolicyChange {
  readonly set: Policy
  /** What is inherited again. */
  readonly unset: readonly SettingKey[]
  readonly dryRun: boolean
}

/** What a change of one object's policy comes to. */
interface Plan {
  readonly own: { readonly before: Policy; readonly after: Policy }
  readonly policies: Policies
  /** The disks and VMs of which other things are wanted then. */
  readonly disks: readonly Change<DiskRecord>[]
  readonly vms: readonly Change<VmRecord>[]
}

interface Change<Of> {
  readonly before: Of
  readonly after: Of
}

/**
 * Sets and unsets settings of a disk, VM or cache, or of the host, and makes it so on all disks and VMs that inherit them, while they are used.
 * Where one of them cannot have it nothing is changed.
 */
export async function changePolicy(
  plane: ControlPlane,
  target: PolicyTarget,
  change: PolicyChange,
  context: OperationContext,
): Promise<ChangeResult> {
  const { inventory } = plane
  const plan = planOf(plane, target, change)
  const changed = !isDeepStrictEqual(plan.own.before, plan.own.after)
  await check(plane, target, plan)
  if (change.dryRun) return { changed, dryRun: true, steps: stepsOf(target, plan) }
  if (!changed) return { changed }
  const objects = objectsOf(target, plan)
  await exclusivelyAll(plane, objects, async () => {
    // Others may have changed something before these were held.
    const now = planOf(plane, target, change)
    const late = objectsOf(target, now).find((object) => !objects.includes(object))
    if (late !== undefined) {
      throw new VmcacheError('JOB_CONFLICT', `${late} was changed meanwhile`, { hint: 'try again' })
    }
    await check(plane, target, now)
    await withUndo((undo) => apply(plane, target, now, undo, context))
    for (const { after } of now.disks) await releaseIfComplete(plane, inventory.disks.get(after.name) ?? after)
  })
  return { changed }
}

function planOf(
  { host, inventory }: ControlPlane,
  { level, object }: PolicyTarget,
  { set, unset }: PolicyChange,
): Plan {
  const before = policyOf(inventory.policies, level, object)
  const given = Object.entries({ ...before, ...set }).filter(([key]) => !unset.includes(key as SettingKey))
  const after: Policy = Object.fromEntries(given)
  const record = { host: host.id, level, object, policy: after }
  const policies: Policies = new Map(inventory.policies).set(policyKey(level, object), record)
  const disks = [...inventory.disks.values()].map((disk) => ({
    before: disk,
    after: { ...disk, ...policyOfDisk(policies, disk) },
  }))
  const vms = [...inventory.vms.values()].map((vm) => ({
    before: vm,
    after: { ...vm, policy: policyOfVm(policies, vm.uuid) },
  }))
  const differs = ({ before: is, after: wanted }: Change<object>): boolean => !isDeepStrictEqual(is, wanted)
  return { own: { before, after }, policies, disks: disks.filter(differs), vms: vms.filter(differs) }
}

/** What nobody else may change meanwhile. */
function objectsOf({ level, name }: PolicyTarget, { disks, vms }: Plan): string[] {
  const inherit = [...vms.map(({ after }) => `vm ${after.name}`), ...disks.map(({ after }) => `disk ${after.name}`)]
  return [...new Set([`${level} ${name}`, ...inherit])]
}

async function exclusivelyAll(
  plane: ControlPlane,
  objects: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  const [first, ...others] = objects
  if (first === undefined) return work()
  await exclusively(plane.inventory, first, () => exclusivelyAll(plane, others, work))
}

/** Throws where one of those who inherit it cannot have what would be wanted, or nobody could. */
async function check(plane: ControlPlane, target: PolicyTarget, { policies, disks, vms }: Plan): Promise<void> {
  await checkInherited(plane, target, policies)
  for (const disk of disks) {
    try {
      await checkDisk(plane, disk)
      checkPromise(plane, disk, disks)
    } catch (error) {
      throw target.level === 'disk' ? error : ofDisk(disk.after.name, error)
    }
  }
  for (const { after } of vms) checkSchedules(plane, after.policy)
}

async function checkDisk(plane: ControlPlane, { before, after }: Change<DiskRecord>): Promise<void> {
  checkLimits(after, knownCache(plane.inventory, after.cache).chunkBytes)
  checkWriteBack(after.writeBack, mostBytes(plane, after))
  if (after.replacement !== before.replacement) await loadReplacement(after.replacement)
}

/** What is set for others must make sense while there are none, too. */
async function checkInherited(plane: ControlPlane, { level, object }: PolicyTarget, policies: Policies): Promise<void> {
  if (level === 'disk') return
  const inherited = diskPolicy(inheritedSettings(policies, level, object).wanted)
  const cache = level === 'cache' ? knownCache(plane.inventory, object) : null
  checkLimits(inherited, cache?.chunkBytes ?? MINIMUM_CHUNK_BYTES)
  const most = cache === null ? inherited.maxBytes : mostBytes(plane, { cache: cache.name, ...inherited })
  checkWriteBack(inherited.writeBack, most)
  await loadReplacement(inherited.replacement)
  if (level !== 'cache') checkSchedules(plane, resolvedVm(policies, object).wanted)
}

/** Throws NO_SPACE where the cache of a disk cannot promise it more, besides what its other disks would have. */
function checkPromise(
  { engine, inventory }: ControlPlane,
  { before, after }: Change<DiskRecord>,
  all: Plan['disks'],
): void {
  const open = engine.caches().find(({ name }) => name === after.cache)
  if (open === undefined) return
  // Also one that rests now must be able to have it.
  if (allocationOf(inventory, after.name) === 'resting') checkPromisedSpace(open, [], after)
  const share = (disk: DiskRecord): Pick<DiskRecord, 'minBytes'> => shareOf(inventory, disk)
  const promised = (disk: DiskRecord): number => promisedChunks(share(disk).minBytes, open.chunkSizeBytes)
  if (promised(after) <= promised(before)) return
  const changes = new Map(all.map((change) => [change.after.name, change.after]))
  const others = disksOf(inventory, after.cache).filter(({ name }) => name !== after.name)
  checkPromisedSpace(
    open,
    others.map((disk) => share(changes.get(disk.name) ?? disk)),
    { ...after, ...share(after) },
  )
}

function checkSchedules(plane: ControlPlane, { suspendAt, resumeAt, storageAfterSeconds, timeZone }: VmPolicy): void {
  if (storageAfterSeconds !== null) storageDirectory(plane)
  for (const expression of [suspendAt, resumeAt]) {
    if (expression !== null) nextTime({ expression, timeZone }, plane.clock.now())
  }
}

function ofDisk(name: string, error: unknown): VmcacheError {
  const { code, message, hint, details } = asVmcacheError(error)
  return new VmcacheError(code, `disk ${name} cannot have it: ${message}`, {
    ...(hint === null ? {} : { hint }),
    details,
    cause: error,
  })
}

async function apply(
  plane: ControlPlane,
  { level, object }: PolicyTarget,
  { own, policies, disks, vms }: Plan,
  undo: Undo,
  context: OperationContext,
): Promise<void> {
  const { host, inventory, state } = plane
  for (const vm of vms) await reserve(plane, vm, undo)
  for (const disk of disks) await changeServed(plane, disk, undo, context)
  const record = { host: host.id, level, object, policy: own.after }
  await state.policies.save(record)
  knowPolicy(inventory.policies, record)
  // What else is known of them may have changed meanwhile.
  for (const { after } of disks) {
    inventory.disks.set(after.name, { ...inventory.disks.get(after.name)!, ...policyOfDisk(policies, after) })
  }
  for (const { after } of vms)
    inventory.vms.set(after.uuid, { ...inventory.vms.get(after.uuid)!, policy: after.policy })
  if (vms.length > 0) watchVms(plane)
}

/** Promises a VM that runs the room that is wanted for its memory then, or none. */
async function reserve(plane: ControlPlane, { before, after }: Change<VmRecord>, undo: Undo): Promise<void> {
  if (before.policy.rapidSuspend === after.policy.rapidSuspend) return
  if ((await driverOf(plane, after).monitor(after)) === null) return
  undo(`the reservation of VM ${before.name}`, () => reserveFor(plane, before, before.policy.rapidSuspend))
  await reserveFor(plane, after, after.policy.rapidSuspend)
}

/** Changes a disk in the engine, where that serves it. Out of write-back it drains first. */
async function changeServed(
  plane: ControlPlane,
  { before, after }: Change<DiskRecord>,
  undo: Undo,
  context: OperationContext,
): Promise<void> {
  const { engine, inventory } = plane
  const { name } = after
  const served = (await engine.disks()).find(({ disk }) => disk === name)
  if (served === undefined) return
  const mode = served.state === 'direct' ? after.mode : await grantedMode(plane, after)
  inventory.changingModes.set(name, mode)
  await drainDisk(plane, name, context, null, (draining) =>
    engine.change(name, { ...policyIn(after), ...shareOf(inventory, after), mode }, draining),
  ).finally(() => inventory.changingModes.delete(name))
  undo(`set disk ${name} back`, async () =>
    engine.change(name, { ...policyIn(before), ...shareOf(inventory, before), mode: await grantedMode(plane, before) }),
  )
}

function policyIn({ mode, replacement, minBytes, maxBytes, shares, writeBack }: DiskPolicy): DiskPolicy {
  return { mode, replacement, minBytes, maxBytes, shares, writeBack }
}

/** What would be done: at the object itself where that is not all, and of each disk and VM that it concerns. */
function stepsOf({ level, name }: PolicyTarget, { own, disks, vms }: Plan): string[] {
  const text = (key: SettingKey, policy: Policy): string => settingText(key, policy[key] ?? null)
  const itself = disks.find(({ after }) => level === 'disk' && after.name === name)
  const isShown = (key: SettingKey): boolean =>
    (itself !== undefined && differing(itself).includes(key as keyof DiskSettings)) ||
    (level === 'vm' && (VM_SETTING_KEYS as SettingKey[]).includes(key) && vms.length > 0)
  const keys = [...new Set([...Object.keys(own.before), ...Object.keys(own.after)])] as SettingKey[]
  const ownSteps = keys
    .filter((key) => !isDeepStrictEqual(own.before[key], own.after[key]) && !isShown(key))
    .map((key) =>
      own.after[key] === undefined
        ? `have ${level} ${name} inherit ${settingName(key)}`
        : `set ${settingName(key)} of ${level} ${name} to ${text(key, own.after)}`,
    )
  const diskSteps = disks.flatMap((disk) => {
    const [is, wanted] = [diskSettings(disk.before), diskSettings(disk.after)]
    return differing(disk).map(
      (key) => `set ${settingName(key)} of disk ${disk.after.name} to ${text(key, wanted)}, it is ${text(key, is)}`,
    )
  })
  const vmSteps = vms.map(({ after }) => `have VM ${after.name} ${policyText(after.policy) ?? 'without a policy'}`)
  return [...ownSteps, ...diskSteps, ...vmSteps]
}

function differing({ before, after }: Change<DiskRecord>): (keyof DiskSettings)[] {
  const [is, wanted] = [diskSettings(before), diskSettings(after)]
  return (Object.keys(wanted) as (keyof DiskSettings)[]).filter((key) => is[key] !== wanted[key])
}
