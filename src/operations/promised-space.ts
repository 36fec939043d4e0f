import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { EngineCache } from '../engine/engine.js'
import { MINIMUM_SHARE_CHUNKS } from '../model/geometry.js'
import type { DiskRecord } from '../state/disk-store.js'

/** Chunks that a disk is sure of: its min, and never less than the least share. */
export function promisedChunks(minBytes: number, chunkBytes: number): number {
  return Math.max(Math.ceil(minBytes / chunkBytes), MINIMUM_SHARE_CHUNKS)
}

/** Throws NO_SPACE where what the cache has promised to `disks` does not fit into `chunks` of its chunks. */
export function checkRemainingSpace(cache: EngineCache, disks: readonly DiskRecord[], chunks: number): void {
  const { name, chunkSizeBytes } = cache
  const promised = disks.reduce((sum, disk) => sum + promisedChunks(disk.minBytes, chunkSizeBytes), 0)
  if (promised <= chunks) return
  const size = (count: number) => formatSize(count * chunkSizeBytes)
  throw new VmcacheError(
    'NO_SPACE',
    `the other devices of cache ${name} hold ${size(chunks)}, its ${disks.length} disks are promised ${size(promised)}`,
    { hint: `add a device first (vmcache device add ${name} PATH), lower the min of a disk, or detach one` },
  )
}

/** Throws NO_SPACE where the cache cannot keep `minBytes` for one more disk besides what it has promised to `others`. */
export function checkPromisedSpace(cache: EngineCache, others: readonly DiskRecord[], minBytes: number): void {
  const { name, chunkSizeBytes, chunks } = cache
  const wanted = promisedChunks(minBytes, chunkSizeBytes)
  const promised = others.reduce((sum, disk) => sum + promisedChunks(disk.minBytes, chunkSizeBytes), 0)
  const left = Math.max(chunks.total - chunks.checkpoint - chunks.mirror - chunks.reserved - promised, 0)
  if (wanted <= left) return
  const size = (count: number) => formatSize(count * chunkSizeBytes)
  throw new VmcacheError(
    'NO_SPACE',
    `cache ${name} has ${size(left)} left to promise, the disk needs ${size(wanted)} (${others.length} disks have ${size(promised)} of ${size(chunks.total)})`,
    { hint: `use a smaller min, lower that of another disk (vmcache disk list), or a larger cache` },
  )
}
