import { formatSize } from '../base/units.js'
import type { ControlPlane } from './control-plane.js'
import { disksOf, knownCache } from './inventory.js'
import type { Operations } from './operation.js'
import { refuseClosedCache } from './resume-disk.js'

/** Reads back what is cached of every served disk and mends what is clean; what is dirty and damaged is told. */
export function cacheScrub(plane: ControlPlane): Operations['cache.scrub'] {
  const { engine, inventory } = plane
  return async ({ name, bytesPerSecond, dryRun }, { progress, signal }) => {
    knownCache(inventory, name)
    refuseClosedCache(plane, name)
    if (dryRun) {
      const served = (await engine.disks()).filter(({ cache, cachedBytes }) => cache === name && cachedBytes > 0)
      const steps = served.map(({ disk, cachedBytes }) => `read ${formatSize(cachedBytes)} of disk ${disk} back`)
      return { changed: false, dryRun, steps, cache: name, disks: [], skipped: [] }
    }
    const scrubbed = await engine.scrub(name, { bytesPerSecond, progress, signal })
    const disks = scrubbed.map((disk) => ({ ...disk, damagedPages: [...disk.damagedPages] }))
    const changed = disks.some(({ repairedPages, droppedPages }) => repairedPages + droppedPages > 0)
    return {
      changed,
      cache: name,
      disks,
      skipped: await skippedDisks(plane, name, new Set(disks.map(({ disk }) => disk))),
    }
  }
}

/** Disks of the cache that were not read: an engine that does not serve a disk does not know what is in its log. */
async function skippedDisks(
  { engine, inventory }: ControlPlane,
  cache: string,
  scrubbed: ReadonlySet<string>,
): Promise<{ disk: string; reason: string }[]> {
  const served = new Map((await engine.disks()).map((disk) => [disk.disk, disk]))
  return disksOf(inventory, cache)
    .filter(({ name }) => !scrubbed.has(name))
    .map(({ name }) => {
      const disk = served.get(name)
      const why = disk === undefined ? inventory.diskTroubles.get(name)?.reason : disk.reason
      return { disk: name, reason: why ?? (disk === undefined ? 'it is not served' : 'nothing of it is cached') }
    })
}
