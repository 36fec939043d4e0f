import { VmcacheError } from '../base/errors.js'
import { formatDuration, formatSize } from '../base/units.js'
import type { ControlPlane } from './control-plane.js'
import { disksOf, exclusively, knownCache } from './inventory.js'
import type { Operations } from './operation.js'
import { policyKey } from './policies.js'

/** Closes a cache without disks and makes its devices free for other uses. */
export function cacheDelete(plane: ControlPlane): Operations['cache.delete'] {
  const { engine, inventory, state, host } = plane
  return async ({ name, discardDirty, dryRun }) => {
    const { devices } = knownCache(inventory, name)
    const disks = disksOf(inventory, name).map((disk) => disk.name)
    if (disks.length > 0) {
      throw new VmcacheError('IN_USE', `cache ${name} serves ${disks.length} disks: ${disks.join(', ')}`, {
        hint: `vmcache cache detach ${disks.join(' ')}`,
        details: { disks },
      })
    }
    const suspended = [...inventory.checkpoints.values()].filter(({ place, leftover }) =>
      [place, leftover].some((each) => each !== null && 'cache' in each && each.cache === name),
    )
    if (suspended.length > 0) {
      const vms = suspended.map(({ vm }) => inventory.vms.get(vm)?.name ?? vm).sort()
      throw new VmcacheError('IN_USE', `cache ${name} has the memory of suspended VMs: ${vms.join(', ')}`, {
        hint: `vmcache vm resume ${vms.join(' ')}`,
        details: { vms },
      })
    }
    const open = engine.caches().find((cache) => cache.name === name)
    if (open !== undefined && open.dirtyBytes > 0 && !discardDirty) {
      const age = open.dirtyAgeSeconds === null ? '' : `, the oldest for ${formatDuration(open.dirtyAgeSeconds)}`
      throw new VmcacheError(
        'DIRTY_DATA',
        `cache ${name} holds ${formatSize(open.dirtyBytes)} that no origin has${age}`,
        {
          hint: `attach its disks and flush them, or lose it: vmcache cache delete ${name} --discard-dirty`,
          details: { dirtyBytes: open.dirtyBytes, dirtyAgeSeconds: open.dirtyAgeSeconds },
        },
      )
    }
    if (dryRun) {
      const steps =
        open === undefined
          ? [`forget cache ${name}; its devices cannot be erased while it is not open`]
          : [...devices.map(({ path }) => `erase ${path}`), `forget cache ${name}`]
      return { changed: true, dryRun: true, steps, name }
    }
    return exclusively(inventory, `cache ${name}`, async () => {
      // Erased first: a record without devices is shown and can be deleted again, devices without a record would be lost.
      if (open !== undefined) await engine.eraseCache(name)
      await state.transaction(async (stores) => {
        await stores.caches.delete(host.id, name)
        await stores.policies.delete(host.id, 'cache', name)
      })
      inventory.caches.delete(name)
      inventory.policies.delete(policyKey('cache', name))
      inventory.cacheTroubles.delete(name)
      return { changed: true, name }
    })
  }
}
