import type { CacheDocument, CheckpointDocument, DiskDocument, EngineDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'
import { mendBadPages, mendDisk, mendLostPages } from './mend-disk.js'
import { badDevices, mendDevices } from './why-closed.js'

type Attention = EngineDocument['degraded']

/** What somebody should look at, with the command that mends it: worst first. */
export function attention(plane: ControlPlane, caches: CacheDocument[], disks: DiskDocument[]): Attention {
  return [
    ...ofEngine(plane),
    ...caches.flatMap((cache) => ofCache(plane, cache, disks)),
    ...disks.flatMap((disk) => ofDisk(plane, disk)),
    ...disks.flatMap((disk) => ofVmDisk(plane, disk)),
    ...ofState(plane),
  ]
}

function ofEngine({ host, withoutCaches }: ControlPlane): Attention {
  if (withoutCaches === null) return []
  return [
    {
      object: `engine of ${host.name}`,
      state: 'direct',
      reason: `without caches: ${withoutCaches}`,
      mend: MEND_ENGINE,
    },
  ]
}

/** What to do about an engine that serves disks without their caches. */
export const MEND_ENGINE = 'mend what its log tells, then: vmcache engine restart'

function ofCache({ inventory }: ControlPlane, cache: CacheDocument, disks: DiskDocument[]): Attention {
  const object = `cache ${cache.name}`
  const { name, state } = cache
  const trouble = inventory.cacheTroubles.get(name)
  if (trouble === undefined && state === 'open') return []
  const direct = disks.filter((disk) => disk.cache === name && disk.state === 'direct').length
  const reason = [
    trouble?.reason ?? badDevices(cache),
    ...(direct > 0 ? [`${direct} of its disks run from their origins`] : []),
  ].join(', ')
  return [{ object, state, reason, mend: trouble?.mend ?? mendDevices(cache) }]
}

function ofDisk(plane: ControlPlane, disk: DiskDocument): Attention {
  const object = `disk ${disk.disk}`
  const trouble = plane.inventory.diskTroubles.get(disk.disk)
  const { state } = disk
  if (trouble !== undefined) return [{ object, state, reason: trouble.reason, mend: trouble.mend }]
  const mend = mendDisk(plane, disk)
  if (state !== 'serving' && state !== 'recovering') return [{ object, state, reason: disk.reason ?? state, mend }]
  const { lostPages, stuckPages } = disk
  if (lostPages > 0) {
    const what = `${lostPages} of its pages were lost on the cache device before the origin had them`
    return [{ object, state, reason: what, mend: mendLostPages(disk) }]
  }
  if (stuckPages > 0) {
    const what = `its origin refuses ${stuckPages} dirty pages${disk.reason === null ? '' : `: ${disk.reason}`}`
    return [{ object, state, reason: what, mend: `mend the origin ${disk.origin}: they are tried again` }]
  }
  if (state === 'serving' && disk.reason !== null && disk.dirtyBytes > 0) {
    return [{ object, state, reason: disk.reason, mend: `mend the origin ${disk.origin}: it is tried again` }]
  }
  if (disk.allocation === 'best-effort') {
    const what = `cache ${disk.cache} has no room for its min`
    return [
      {
        object,
        state,
        reason: what,
        mend: `lower the min of a disk, stop a VM, or: vmcache device add ${disk.cache} PATH`,
      },
    ]
  }
  if (disk.badPages > 0) {
    return [{ object, state, reason: `${disk.badPages} of its cached pages were bad`, mend: mendBadPages(disk) }]
  }
  const { wanted, inForce, reason } = disk.mode
  if (wanted === inForce) return []
  return [{ object, state: inForce, reason: `${wanted} is wanted: ${reason ?? 'unknown'}`, mend }]
}

/** An attached disk whose VM runs past the cache. */
function ofVmDisk({ inventory }: ControlPlane, { disk, vm }: DiskDocument): Attention {
  const reason = inventory.whyDirect.get(disk)
  if (reason === undefined || vm === null) return []
  return [{ object: `disk ${disk}`, state: 'direct', reason, mend: `vmcache vm show ${vm}` }]
}

/** A VM that cannot be resumed, and what a cache keeps of one that nobody knows to be suspended. */
export function attentionOfCheckpoints(checkpoints: readonly CheckpointDocument[]): Attention {
  return checkpoints.flatMap(({ id, vm, cache, path, state, damage }): Attention => {
    if (state === 'unrecorded') {
      const reason = `${path ?? `cache ${cache}`} has memory of VM ${vm}, and nobody knows what became of that`
      return [{ object: `checkpoint ${id}`, state, reason, mend: `vmcache checkpoint delete ${id} --discard-memory` }]
    }
    return damage === null ? [] : [{ object: `VM ${vm}`, state, reason: damage, mend: `vmcache checkpoint show ${vm}` }]
  })
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
