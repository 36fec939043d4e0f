import { appendTo } from '../../base/append-to.js'
import { VmcacheError } from '../../base/errors.js'
import { bootId } from '../../base/system-calls.js'
import { formatSize } from '../../base/units.js'
import { CHUNK_HEADER_BYTES, CHUNK_KIND, readChunkHeader } from '../../format/chunk-header.js'
import { OBJECT_FLAG, decodeObjectHeader } from '../../format/object-header.js'
import type { Superblock } from '../../format/superblock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { planRecovery, type FoundChunk } from '../log/recovery.js'
import { chunkOffset } from './pool.js'

/**
 * DIRTY_DATA where a device of a cache that is not open holds something that an origin lacks; also in doubt, as where the rest of a log is
 * on another device. REFUSED where it holds something of a checkpoint. INTERRUPTED where `signal` is raised.
 */
export async function refuseDirty(device: Device, superblock: Superblock, signal: AbortSignal): Promise<void> {
  for (const found of (await readLogs(device, superblock, signal)).values()) {
    const { chunkBytes, cacheName } = superblock
    const { dirtyBytes, isDirtyDamaged } = await planRecovery(found, { chunkBytes, bootId: bootId() })
    if (dirtyBytes === 0 && !isDirtyDamaged) continue
    const { diskName, origin } = found[0]!.header
    throw new VmcacheError(
      'DIRTY_DATA',
      `device ${device.path} belongs to cache ${cacheName} and holds what origin ${origin} of disk ${diskName} lacks: ${formatSize(dirtyBytes)}`,
      {
        hint: `vmcache cache import --device ${device.path} opens it, vmcache cache detach ${diskName} writes it to the origin, or loses it with --discard-dirty`,
        details: { path: device.path, cache: cacheName, disk: diskName, dirtyBytes },
      },
    )
  }
}

async function readLogs(
  device: Device,
  superblock: Superblock,
  signal: AbortSignal,
): Promise<Map<string, FoundChunk[]>> {
  const logs = new Map<string, FoundChunk[]>()
  const block = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    for (let index = 0; index < superblock.chunkCount; index++) {
      if (signal.aborted) throw new VmcacheError('INTERRUPTED', `the look through device ${device.path} was cancelled`)
      const offset = chunkOffset(superblock, index)
      await device.read(offset, block, 0, CHUNK_HEADER_BYTES)
      const reading = readChunkHeader(block, 0)
      if (reading.kind === 'object' && reading.cacheId === superblock.cacheId) refuseObject(block, device, superblock)
      if (reading.kind !== 'header') continue
      const { header } = reading
      if (header.kind !== CHUNK_KIND.log || header.cacheId !== superblock.cacheId) continue
      const chunk = { device, deviceIndex: superblock.deviceIndex, index, offset, generation: header.generation }
      appendTo(logs, header.logId, { chunk, header })
    }
    return logs
  } finally {
    releaseAligned(block)
  }
}

function refuseObject(block: Buffer, device: Device, { cacheName }: Superblock): void {
  const header = decodeObjectHeader(block, 0)
  if (header === undefined || header.flags !== OBJECT_FLAG.sealed) return
  const { objectId, seal } = header
  throw new VmcacheError(
    'REFUSED',
    `device ${device.path} belongs to cache ${cacheName} and holds the memory of VM ${seal?.name ?? '(unknown)'}, which is suspended`,
    {
      hint: `vmcache cache import --device ${device.path} opens it; resume the VM, or: vmcache checkpoint delete ${objectId} --discard-memory`,
      details: { path: device.path, cache: cacheName, checkpoint: objectId },
    },
  )
}
