import { VmcacheError } from '../base/errors.js'
import type { DeviceIdentity, EngineCache, FoundLog } from '../engine/engine.js'
import { checkedCacheName, checkedDiskName } from '../model/names.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { DiskRecord } from '../state/disk-store.js'
import { socketPath } from './cache-attach.js'
import { cacheDocument } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import { disksOf, exclusively } from './inventory.js'
import { cacheRecord, forgetReservations, saveCache } from './open-cache.js'
import type { Operations } from './operation.js'
import { policyOfNewDisk } from './policies.js'
import { resumeDisk } from './resume-disk.js'
import { stablePath } from './stable-path.js'
import { withUndo } from './undo.js'

/**
 * Takes a cache over from its devices alone: the superblocks say which cache it is, the logs which disks it serves. Disks that
 * are not recorded any more are attached with what they inherit; one whose origin is away waits for it.
 */
export function cacheImport(plane: ControlPlane): Operations['cache.import'] {
  const { engine, inventory } = plane
  return async ({ devices, missing, dryRun }) => {
    const paths = await Promise.all(devices.map((path) => stablePath(path)))
    const identity = await commonIdentity(plane, paths)
    const name = checkedCacheName(identity.cacheName)
    refuseOtherCache(plane, identity)
    const open = engine.caches().find((cache) => cache.name === name)
    if (open !== undefined) {
      const unchanged = { changed: false, cache: cacheDocument(plane, name), coldDisks: [] }
      return dryRun ? { ...unchanged, dryRun, steps: [] } : unchanged
    }
    if (dryRun) {
      const steps = [
        `open cache ${name} on ${paths.join(', ')}`,
        `record cache ${name}`,
        'attach the disks of its logs',
      ]
      return { changed: true, dryRun, steps, cache: null, coldDisks: [] }
    }
    await exclusively(inventory, `cache ${name}`, () => openAndRecord(plane, name, identity, paths, missing))
    // The cache is there now: a disk that cannot be served yet is shown as such.
    const wanted = disksOf(inventory, name)
    await Promise.all(wanted.map((disk) => resumeDisk(plane, disk).catch(() => {})))
    const cache = cacheDocument(plane, name)
    return { changed: true, cache, coldDisks: cache.state === 'open' ? [] : cache.disks }
  }
}

async function openAndRecord(
  plane: ControlPlane,
  name: string,
  identity: DeviceIdentity,
  paths: readonly string[],
  allowMissing: boolean,
): Promise<void> {
  const { engine, inventory, state } = plane
  await withUndo(async (undo) => {
    const opened = await engine.openCache({ name, devices: paths }, { allowMissing })
    forgetReservations(plane, name)
    undo(`close cache ${name}`, () => engine.closeCache(name))
    const logs = await engine.logsOf(name)
    const known = new Set([...inventory.disks.values()].map((disk) => disk.logId))
    const found = logs.filter((log) => !known.has(log.logId)).map((log) => foundDisk(plane, opened, log))
    refuseTakenNames(plane, name, found)
    await saveCache(plane, importedRecord(plane, opened, identity))
    inventory.cacheTroubles.delete(name)
    if (found.length === 0) return
    await state.transaction(async (stores) => {
      for (const disk of found) await stores.disks.save(disk)
    })
    for (const disk of found) inventory.disks.set(disk.name, disk)
  })
}

/** The cache with its devices where they are now; a missing one keeps the path that is remembered of it. */
function importedRecord(plane: ControlPlane, opened: EngineCache, identity: DeviceIdentity): CacheRecord {
  const record = cacheRecord(plane, opened, identity.cacheId, identity.createdAt)
  const before = new Map(plane.inventory.caches.get(opened.name)?.devices.map((device) => [device.deviceId, device]))
  const isMissing = new Set(opened.devices.filter(({ state }) => state === 'missing').map(({ id }) => id))
  const devices = record.devices.map((device) =>
    isMissing.has(device.deviceId) ? (before.get(device.deviceId) ?? device) : device,
  )
  return { ...record, devices }
}

/** What all devices say of their cache. */
async function commonIdentity({ engine }: ControlPlane, paths: readonly string[]): Promise<DeviceIdentity> {
  const [first] = paths
  if (first === undefined) {
    throw new VmcacheError('USAGE', 'no device is given', {
      hint: 'give all of the cache: --device PATH --device PATH',
    })
  }
  const identities = await Promise.all(
    paths.map(async (path) => {
      const identity = await engine.identify(path)
      if (identity !== null) return identity
      throw new VmcacheError('DEVICE_FOREIGN', `device ${path} holds no cache of vmcache; it was left as it is`)
    }),
  )
  const odd = identities.findIndex(({ cacheId }) => cacheId !== identities[0]!.cacheId)
  if (odd < 0) return identities[0]!
  throw new VmcacheError(
    'DEVICE_FOREIGN',
    `device ${paths[odd]} belongs to cache ${identities[odd]!.cacheName}, ${first} to cache ${identities[0]!.cacheName}`,
    { hint: 'import one cache at a time' },
  )
}

function refuseOtherCache({ inventory }: ControlPlane, { cacheName, cacheId }: DeviceIdentity): void {
  const existing = inventory.caches.get(cacheName)
  if (existing === undefined || existing.cacheId === cacheId) return
  throw new VmcacheError(
    'CACHE_EXISTS',
    `cache ${cacheName} exists and is another one (created ${existing.createdAt})`,
    {
      hint: `delete that one first: vmcache cache delete ${cacheName}`,
    },
  )
}

function refuseTakenNames({ inventory }: ControlPlane, cache: string, found: readonly DiskRecord[]): void {
  for (const { name, origin } of found) {
    const other = [...inventory.disks.values()].find((disk) => disk.name === name || disk.origin === origin)
    if (other === undefined) continue
    throw new VmcacheError(
      'IN_USE',
      `cache ${cache} holds a log of disk ${name} (origin ${origin}), but disk ${other.name} serves ${other.origin} through cache ${other.cache}`,
      { hint: `detach that one first: vmcache cache detach ${other.name}` },
    )
  }
}

/** The attachment that a log was made for; what the log does not say is inherited. */
function foundDisk(plane: ControlPlane, cache: EngineCache, log: FoundLog): DiskRecord {
  const name = checkedDiskName(log.disk)
  return {
    host: plane.host.id,
    name,
    cache: cache.name,
    logId: log.logId,
    origin: log.origin,
    lease: null,
    socket: socketPath(plane.runDirectory, name),
    ...policyOfNewDisk(plane.inventory.policies, { name, cache: cache.name, vm: null }, {}),
    readOnly: false,
    exclusive: false,
    vm: null,
    blockBytes: cache.blockSizeBytes,
    createdAt: new Date(plane.clock.now()).toISOString(),
  }
}
