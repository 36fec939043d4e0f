import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { EngineCache } from '../engine/engine.js'
import { MINIMUM_SHARE_CHUNKS } from '../model/geometry.js'

/** What a disk is promised. */
interface Promised {
  readonly minBytes: number
}

/** Chunks that a disk is sure of: its min, and never less than the least share. */
export function promisedChunks(minBytes: number, chunkBytes: number): number {
  return Math.max(Math.ceil(minBytes / chunkBytes), MINIMUM_SHARE_CHUNKS)
}

/** Throws NO_SPACE where what the cache has promised to `disks` does not fit into `chunks` of its chunks. */
export function checkRemainingSpace(cache: EngineCache, disks: readonly Promised[], chunks: number): void {
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

/** Chunks that the cache can promise besides what it has promised to `others`. */
function chunksLeft({ chunkSizeBytes, chunks }: EngineCache, others: readonly Promised[]): number {
  const promised = others.reduce((sum, disk) => sum + promisedChunks(disk.minBytes, chunkSizeBytes), 0)
  return Math.max(chunks.total - chunks.checkpoint - chunks.mirror - chunks.reserved - promised, 0)
}

/** Whether the cache can keep `minBytes` for one more disk besides what it has promised to `others`. */
export function canPromise(cache: EngineCache, others: readonly Promised[], minBytes: number): boolean {
  return promisedChunks(minBytes, cache.chunkSizeBytes) <= chunksLeft(cache, others)
}

/** Throws NO_SPACE where it cannot, for the sake of disk `name`. */
export function checkPromisedSpace(
  cache: EngineCache,
  others: readonly Promised[],
  { name, minBytes }: Promised & { readonly name: string },
): void {
  if (canPromise(cache, others, minBytes)) return
  const { chunkSizeBytes, chunks } = cache
  const size = (count: number) => formatSize(count * chunkSizeBytes)
  const wanted = size(promisedChunks(minBytes, chunkSizeBytes))
  const promised = size(others.reduce((sum, disk) => sum + promisedChunks(disk.minBytes, chunkSizeBytes), 0))
  throw new VmcacheError(
    'NO_SPACE',
    `cache ${cache.name} has ${size(chunksLeft(cache, others))} left to promise, disk ${name} needs ${wanted} (disks besides it: ${others.length}, with ${promised} of ${size(chunks.total)})`,
    {
      hint: `lower its min or that of another disk (vmcache disk list), stop a VM, or add a device; to start a VM without what it is promised: vmcache vm start --best-effort`,
    },
  )
}
