import type { EngineCache } from '../engine/engine.js'
import type { CacheDocument } from '../protocol/control/documents.js'
import type { CacheRecord } from '../state/cache-store.js'
import type { ControlPlane } from './control-plane.js'
import { disksOf, knownCache } from './inventory.js'

/** A cache as lists show it: what the engine says, or, where it is not open, what is recorded. */
export function cacheDocument(plane: ControlPlane, name: string): CacheDocument {
  const record = knownCache(plane.inventory, name)
  const open = plane.engine.caches().find((cache) => cache.name === name)
  return {
    ...(open === undefined ? closedCache(plane, record) : withPaths(open, record)),
    host: plane.host.name,
    scope: 'local',
    disks: disksOf(plane.inventory, name).map((disk) => disk.name),
  }
}

export function cacheDocuments(plane: ControlPlane): CacheDocument[] {
  return [...plane.inventory.caches.keys()].sort().map((name) => cacheDocument(plane, name))
}

/** The engine knows a missing device by its id alone. */
function withPaths(open: EngineCache, record: CacheRecord): EngineCache {
  const paths = new Map(record.devices.map(({ deviceId, path }) => [deviceId, path]))
  const named = open.devices.map((device) =>
    device.state === 'missing' ? { ...device, path: paths.get(device.id) ?? device.path } : device,
  )
  return { ...open, devices: named }
}

function closedCache(plane: ControlPlane, record: CacheRecord): EngineCache {
  const trouble = plane.inventory.cacheTroubles.get(record.name)
  const total = record.devices.reduce((sum, device) => sum + device.chunks, 0)
  return {
    name: record.name,
    state: trouble === undefined ? 'closed' : 'failed',
    blockSizeBytes: record.blockBytes,
    chunkSizeBytes: record.chunkBytes,
    chunks: { total, free: 0, disk: 0, checkpoint: 0, mirror: 0, reserved: 0 },
    sizeBytes: total * record.chunkBytes,
    indexBytes: 0,
    dirtyBytes: 0,
    dirtyAgeSeconds: null,
    devices: record.devices.map(({ deviceId, path, sizeBytes, chunks }) => ({
      id: deviceId,
      path,
      sizeBytes,
      chunks,
      state: trouble?.missing.includes(path) ? 'missing' : trouble?.corrupt.includes(path) ? 'failed' : 'ok',
      errors: 0,
    })),
  }
}
