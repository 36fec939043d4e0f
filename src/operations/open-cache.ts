import { messageOf } from '../base/errors.js'
import type { EngineCache } from '../engine/engine.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { ControlPlane } from './control-plane.js'

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
  const paths = record.devices.map((device) => device.path)
  try {
    await engine.openCache({ name: record.name, devices: paths }, { allowMissing: false })
    inventory.cacheTroubles.delete(record.name)
    return true
  } catch (error) {
    const missing = await missingDevices(plane, record)
    const present = paths.filter((path) => !missing.includes(path))
    inventory.cacheTroubles.set(record.name, {
      // A device may come back by itself: a slow bus, a disk that was pulled and put back.
      state: missing.length > 0 ? 'waiting' : 'failed',
      reason: messageOf(error),
      mend:
        missing.length > 0 && present.length > 0
          ? `bring back ${missing.join(', ')}, or go without: vmcache cache import --missing ${present.map((path) => `--device ${path}`).join(' ')}`
          : missing.length > 0
            ? `bring back ${missing.join(', ')}`
            : `vmcache cache check ${paths.join(' ')}`,
      missing,
    })
    return false
  }
}

async function missingDevices({ engine }: ControlPlane, record: CacheRecord): Promise<string[]> {
  const found = await Promise.all(
    record.devices.map(async ({ path, deviceId }) => {
      const identity = await engine.identify(path).catch(() => null)
      return { path, isThere: identity?.deviceId === deviceId }
    }),
  )
  return found.filter(({ isThere }) => !isThere).map(({ path }) => path)
}
