import { join } from 'node:path'
import { VmcacheError } from '../base/errors.js'
import { loadReplacement } from '../engine/replacement/modules.js'
import { checkedDiskName, defaultDiskName } from '../model/names.js'
import {
  DISK_SETTING_KEYS,
  diskSettings,
  settingName,
  type DiskPolicy,
  type Policy,
  type SettingValue,
} from '../model/policy.js'
import type { Allocation, AttachRequest, GivenDiskSettings } from '../protocol/control/documents.js'
import type { ResponseOf } from '../protocol/control/routes.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { DiskRecord, OwningVm } from '../state/disk-store.js'
import { sharesBeside } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { exclusively, knownCache } from './inventory.js'
import { leaseKey } from './lease.js'
import { checkLimits } from './limits.js'
import { givenSettings } from './given-settings.js'
import type { ObservedOrigin } from './observe-origin.js'
import type { Operations } from './operation.js'
import { knowPolicy, policyKey, policyOfNewDisk } from './policies.js'
import { checkPromisedSpace } from './promised-space.js'
import { realPath } from './real-path.js'
import { refuseClosedCache, resumeDisk } from './resume-disk.js'
import { serveDisk } from './serve-disk.js'
import { withUndo } from './undo.js'
import { checkWriteBack, mostBytes } from './write-back-limits.js'

/** Serves an origin as a disk through a cache. It holds over restarts of the engine and the host until it is detached. */
export function cacheAttach(plane: ControlPlane): Operations['cache.attach'] {
  return (request) => attachOrigin(plane, request, null)
}

/** The same for the disk of a VM, whoever it belongs to. */
export async function attachOrigin(
  plane: ControlPlane,
  request: AttachRequest,
  vm: OwningVm | null,
  allocation: Allocation = 'full',
): Promise<ResponseOf<'cache.attach'>> {
  const { inventory } = plane
  const cache = knownCache(inventory, request.cache)
  const name = checkedDiskName(request.name ?? defaultDiskName(request.origin))
  const own = givenSettings(settingsIn(request))
  const existing = inventory.disks.get(name)
  if (existing !== undefined) return attachAgain(plane, existing, request, own, vm)
  const policy = policyOfNewDisk(inventory.policies, { name, cache: cache.name, vm }, own)
  checkLimits(policy, cache.chunkBytes)
  checkWriteBack(policy.writeBack, mostBytes(plane, { cache: cache.name, ...policy }))
  await loadReplacement(policy.replacement)

  const seen = await plane.observe(request.origin)
  const devices = await devicePaths(plane)
  // From here to the claim of the name nothing is waited for: of two attachments at once each sees what the other was promised.
  refuseUsedOrigin(plane, seen, devices)
  const record = newRecord(plane, cache, name, seen, { request, policy, vm })
  refuseFullCache(plane, record, allocation)
  if (request.dryRun) {
    return { changed: true, dryRun: true, steps: stepsOf(record, seen), disk: null }
  }
  await exclusively(inventory, `disk ${name}`, async () => {
    inventory.disks.set(name, record)
    knowPolicy(inventory.policies, { host: record.host, level: 'disk', object: name, policy: own })
    inventory.identities.set(name, seen.identity)
    inventory.allocations.set(name, allocation)
    await withUndo(async (undo) => {
      undo('the name', async () => {
        inventory.disks.delete(name)
        inventory.policies.delete(policyKey('disk', name))
        inventory.identities.delete(name)
        inventory.epochs.delete(name)
        inventory.allocations.delete(name)
      })
      await serveDisk(plane, record, seen, undo, {
        isNew: true,
        log: null,
        newestFrameAt: null,
        withoutLog: null,
        isCut: false,
      })
    })
  })
  return { changed: true, disk: await diskDocument(plane, name) }
}

/** The disk is recorded: it must be what is asked for, and is served again where it was not. */
async function attachAgain(
  plane: ControlPlane,
  existing: DiskRecord,
  request: AttachRequest,
  own: Policy,
  vm: OwningVm | null,
) {
  await refuseDifference(plane, existing, request, own, vm)
  const isServed = (await plane.engine.disks()).some(({ disk }) => disk === existing.name)
  if (request.dryRun) {
    const steps = isServed ? [] : [`serve disk ${existing.name} again`]
    return { changed: !isServed, dryRun: true, steps, disk: await diskDocument(plane, existing.name) }
  }
  if (!isServed) await resumeDisk(plane, existing)
  return { changed: !isServed, disk: await diskDocument(plane, existing.name) }
}

async function refuseDifference(
  plane: ControlPlane,
  existing: DiskRecord,
  asked: AttachRequest,
  own: Policy,
  vm: OwningVm | null,
): Promise<void> {
  // The origin may be away, or named by a link: only where the names differ it is looked at.
  const origin = asked.origin === existing.origin ? existing.origin : (await plane.observe(asked.origin)).uri
  // What is not given the disk may have, whatever that is.
  const has = diskSettings(existing)
  const given = DISK_SETTING_KEYS.filter((key) => own[key] !== undefined)
  const settings: [what: string, is: string | number | boolean | null, wanted: string | number | boolean | null][] = [
    ['cache', existing.cache, asked.cache],
    ['origin', existing.origin, origin],
    ...given.map((key): [string, SettingValue, SettingValue] => [settingName(key), has[key], own[key]!]),
    ['read-only', existing.readOnly, asked.readOnly],
    ['exclusive', existing.exclusive, asked.exclusive],
    ['VM', existing.vm?.uuid ?? 'none', vm?.uuid ?? 'none'],
  ]
  const different = settings.find(([, is, wanted]) => is !== wanted)
  if (different === undefined) return
  const [what, is, wanted] = different
  const shown = (value: typeof is) => value ?? (what === 'max' ? 'the whole cache' : 'the default')
  throw new VmcacheError(
    'DISK_EXISTS',
    `disk ${existing.name} is attached with ${what} ${shown(is)}, asked for ${shown(wanted)}`,
    {
      hint:
        what === 'origin'
          ? 'give the new disk another name: --name DISK'
          : `detach it first, or change what can be changed: vmcache policy set --disk ${existing.name}`,
      details: { setting: what, is, wanted },
    },
  )
}

/** The cache that each device belongs to, by the device's path without links. */
async function devicePaths({ inventory }: ControlPlane): Promise<Map<string, string>> {
  const devices = [...inventory.caches.values()].flatMap(({ name, devices }) =>
    devices.map(({ path }) => ({ name, path })),
  )
  return new Map(
    await Promise.all(devices.map(async ({ name, path }): Promise<[string, string]> => [await realPath(path), name])),
  )
}

/** An origin is attached once, and is never a device of a cache. */
function refuseUsedOrigin({ inventory }: ControlPlane, seen: ObservedOrigin, devices: Map<string, string>): void {
  for (const disk of inventory.disks.values()) {
    if (disk.origin !== seen.uri && inventory.identities.get(disk.name) !== seen.identity) continue
    throw new VmcacheError('IN_USE', `origin ${seen.uri} is attached already, as disk ${disk.name}`, {
      hint: `use disk ${disk.name}, or detach it first: vmcache cache detach ${disk.name}`,
      details: { disk: disk.name },
    })
  }
  const cache = devices.get(seen.path)
  if (cache === undefined) return
  throw new VmcacheError('IN_USE', `origin ${seen.uri} is a device of cache ${cache}`, {
    hint: 'name the disk image that the cache is for',
  })
}

/** What a disk is promised that rests now it must be possible to promise at all; besides what others are promised there is at least the least share. */
function refuseFullCache(plane: ControlPlane, record: DiskRecord, allocation: Allocation): void {
  refuseClosedCache(plane, record.cache)
  const open = plane.engine.caches().find((cache) => cache.name === record.cache)
  if (open === undefined) return
  const isResting = allocation === 'resting'
  if (isResting) checkPromisedSpace(open, [], record)
  checkPromisedSpace(open, sharesBeside(plane.inventory, record.cache), isResting ? { ...record, minBytes: 0 } : record)
}

function newRecord(
  { clock, host, random, runDirectory }: ControlPlane,
  cache: CacheRecord,
  name: string,
  seen: ObservedOrigin,
  { request, policy, vm }: { request: AttachRequest; policy: DiskPolicy; vm: OwningVm | null },
): DiskRecord {
  return {
    host: host.id,
    name,
    cache: cache.name,
    logId: random.id(),
    origin: seen.uri,
    lease: leaseKey(seen, host.id),
    socket: socketPath(runDirectory, name),
    ...policy,
    readOnly: request.readOnly,
    exclusive: request.exclusive,
    blockBytes: cache.blockBytes,
    vm,
    createdAt: new Date(clock.now()).toISOString(),
  }
}

/** What of an attachment is policy. */
export function settingsIn(request: GivenDiskSettings): GivenDiskSettings {
  const { mode, replacement, minBytes, maxBytes, shares, writeBack } = request
  return { mode, replacement, minBytes, maxBytes, shares, writeBack }
}

/** Where clients find a disk. */
export function socketPath(runDirectory: string, disk: string): string {
  return join(runDirectory, 'disks', `${disk}.sock`)
}

function stepsOf(record: DiskRecord, seen: ObservedOrigin): string[] {
  return [
    ...(record.readOnly ? [] : [`take the lease of ${record.origin}`]),
    ...(record.readOnly || seen.kind !== 'file' ? [] : [`write a stamp beside ${record.origin}`]),
    `record disk ${record.name} in the state database`,
    `listen on ${record.socket}`,
    `serve disk ${record.name} through cache ${record.cache}`,
  ]
}
