import { messageOf, VmcacheError } from '../base/errors.js'
import type { EngineCache } from '../engine/engine.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { ControlPlane } from './control-plane.js'
import type { CacheTrouble } from './inventory.js'

/** The record of a cache that the engine has opened. */
export function cacheRecord(plane: ControlPlane, opened: EngineCache, cacheId: string, createdAt: string): CacheRecord {
  return {
    host: plane.host.id,
    name: opened.name,
    cacheId,
    blockBytes: opened.blockSizeBytes,
    chunkBytes: opened.chunkSizeBytes,
    createdAt,
    devices: opened.devices.map(({ id, path, sizeBytes, chunks }) => ({ deviceId: id, path, sizeBytes, chunks })),
  }
}

/** Writes the cache down in the database, then in memory. */
export async function saveCache(plane: ControlPlane, record: CacheRecord): Promise<void> {
  await plane.state.transaction((stores) => stores.caches.save(record))
  plane.inventory.caches.set(record.name, record)
}

/**
 * Opens a recorded cache with all its devices. One that cannot be opened keeps its trouble in the inventory, with the command that
 * mends it; the call returns whether it is open.
 */
export async function openRecordedCache(plane: ControlPlane, record: CacheRecord): Promise<boolean> {
  const { engine, inventory } = plane
  const devices = record.devices.map((device) => device.path)
  try {
    const opened = await engine.openCache({ name: record.name, devices }, { allowMissing: false })
    inventory.cacheTroubles.delete(record.name)
    forgetReservations(plane, record.name)
    await recordDevices(plane, record, opened)
    return true
  } catch (error) {
    inventory.cacheTroubles.set(record.name, await troubleOf(plane, record, messageOf(error)))
    return false
  }
}

/** A cache that was opened anew promises nothing: what is wanted is promised again. */
export function forgetReservations({ inventory }: ControlPlane, name: string): void {
  for (const [uuid, { cache }] of inventory.reservations) if (cache === name) inventory.reservations.delete(uuid)
}

/** The devices say which of them the cache has: a removal may have been interrupted before it was written down. */
async function recordDevices(plane: ControlPlane, record: CacheRecord, opened: EngineCache): Promise<void> {
  if (record.devices.every(({ deviceId }) => opened.devices.some(({ id }) => id === deviceId))) return
  // While the database is away the record stays as it is, and the next opening finds the same.
  await saveCache(plane, cacheRecord(plane, opened, record.cacheId, record.createdAt)).catch(() => undefined)
}

async function troubleOf({ engine }: ControlPlane, record: CacheRecord, reason: string): Promise<CacheTrouble> {
  const missing: string[] = []
  const corrupt: string[] = []
  for (const { path, deviceId } of record.devices) {
    const found = await engine.identify(path).catch((error: unknown) => error)
    if (found instanceof VmcacheError && found.code === 'CORRUPT') corrupt.push(path)
    else if ((found as { deviceId?: string } | null)?.deviceId !== deviceId) missing.push(path)
  }
  const bad = [...missing, ...corrupt]
  const good = record.devices.map(({ path }) => path).filter((path) => !bad.includes(path))
  const bringBack = missing.length > 0 ? `bring back ${missing.join(', ')}` : `vmcache cache check ${devicesOf(record)}`
  const goWithout = `, or go without: vmcache cache import --allow-missing ${good.map((path) => `--device ${path}`).join(' ')}`
  return {
    // A device may come back by itself: a slow bus, a disk that was pulled and put back.
    state: missing.length > 0 ? 'waiting' : 'failed',
    reason,
    mend: bad.length > 0 && good.length > 0 ? bringBack + goWithout : bringBack,
    missing,
    corrupt,
  }
}

function devicesOf({ devices }: CacheRecord): string {
  return devices.map(({ path }) => path).join(' ')
}
