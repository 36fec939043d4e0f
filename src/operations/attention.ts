import type { CacheDocument, DiskDocument, EngineDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'

type Attention = EngineDocument['degraded']

/** What somebody should look at, with the command that mends it: worst first. */
export function attention(plane: ControlPlane, caches: CacheDocument[], disks: DiskDocument[]): Attention {
  return [
    ...caches.flatMap((cache) => ofCache(plane, cache)),
    ...disks.flatMap((disk) => ofDisk(plane, disk)),
    ...ofState(plane),
  ]
}

function ofCache({ inventory }: ControlPlane, cache: CacheDocument): Attention {
  const object = `cache ${cache.name}`
  const trouble = inventory.cacheTroubles.get(cache.name)
  if (trouble !== undefined) return [{ object, state: cache.state, reason: trouble.reason, mend: trouble.mend }]
  if (cache.state === 'open') return []
  const bad = cache.devices.filter((device) => device.state !== 'ok')
  const reason = bad.map(({ path, state, errors }) => `${path} is ${state}${errors > 0 ? ` (${errors} errors)` : ''}`)
  return [
    { object, state: cache.state, reason: reason.join(', ') || 'unknown', mend: `vmcache cache show ${cache.name}` },
  ]
}

function ofDisk({ inventory }: ControlPlane, disk: DiskDocument): Attention {
  const object = `disk ${disk.disk}`
  const trouble = inventory.diskTroubles.get(disk.disk)
  const { state } = disk
  if (trouble !== undefined) return [{ object, state, reason: trouble.reason, mend: trouble.mend }]
  const mend = `vmcache disk show ${disk.disk}`
  if (state !== 'serving' && state !== 'recovering') return [{ object, state, reason: disk.reason ?? state, mend }]
  const { wanted, inForce, reason } = disk.mode
  if (wanted === inForce) return []
  return [{ object, state: inForce, reason: `${wanted} is wanted: ${reason ?? 'unknown'}`, mend }]
}

function ofState({ state, journal }: ControlPlane): Attention {
  if (journal.unsaved === 0) return []
  return [
    {
      object: `state database ${state.label}`,
      state: 'failed',
      reason: `cannot be written: ${journal.unsaved} events wait for it`,
      mend: 'vmcache doctor',
    },
  ]
}
