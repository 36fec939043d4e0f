import { join } from 'node:path'
import { FIRST_CHUNK_OFFSET } from '../../../src/format/superblock.js'
import { PAGE_BYTES, REGION_BYTES, SECTOR_BYTES } from '../../../src/model/geometry.js'
import type { Mode } from '../../../src/model/mode.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import type { AttachRequest, CreateCacheRequest } from '../../../src/protocol/control/documents.js'
import { writeImage } from './image-file.js'
import { usedRuns } from './load.js'
import { stampedSectors } from './stamps.js'

const CHUNK_BYTES = 256 * 1024
/** Of all devices of a cache together: so few that the load has to reclaim. */
const CACHE_CHUNKS = 16
/** Three regions, of the last a part. */
const ORIGIN_BYTES = 2 * REGION_BYTES + 1024 * 1024
/** The first write to each sector that is not zeroes in the beginning. */
const BEGINNING = 1

/** One disk with a cache of its own, and the files that both are made of. */
export interface DiskFiles {
  readonly name: string
  readonly mode: Mode
  /** The cache devices, then the origin. */
  readonly paths: readonly string[]
  readonly originPath: string
}

export function diskFiles(directory: string, name: string, mode: Mode, devices: number): DiskFiles {
  const originPath = join(directory, `${name}-origin.img`)
  const devicePaths = Array.from({ length: devices }, (_, index) => join(directory, `${name}-device-${index}.img`))
  return { name, mode, paths: [...devicePaths, originPath], originPath }
}

/** Makes the files: empty devices, and an origin that is written in part. */
export function createFiles({ paths, originPath }: DiskFiles): void {
  const devicePaths = paths.filter((path) => path !== originPath)
  const deviceBytes = FIRST_CHUNK_OFFSET + (CACHE_CHUNKS / devicePaths.length) * CHUNK_BYTES
  for (const path of devicePaths) writeImage(path, Buffer.alloc(deviceBytes), { sparse: false })
  const origin = Buffer.alloc(ORIGIN_BYTES)
  for (const { first, count } of usedRuns(ORIGIN_BYTES / SECTOR_BYTES)) {
    stampedSectors(first, count / 2, BEGINNING).copy(origin, first * SECTOR_BYTES)
  }
  writeImage(originPath, origin, { sparse: true })
}

export function cacheRequest({ name, paths, originPath }: DiskFiles): CreateCacheRequest {
  return {
    name: `cache-${name}`,
    devices: paths.filter((path) => path !== originPath).map((path) => ({ path, sizeBytes: null })),
    blockSizeBytes: PAGE_BYTES,
    chunkSizeBytes: CHUNK_BYTES,
    force: false,
    dryRun: false,
  }
}

export function attachRequest({ name, mode, originPath }: DiskFiles): AttachRequest {
  return {
    cache: `cache-${name}`,
    origin: originPath,
    name,
    mode,
    replacement: 's3-fifo',
    minBytes: 0,
    maxBytes: null,
    shares: 100,
    writeBack: DEFAULT_WRITE_BACK,
    readOnly: false,
    exclusive: false,
    dryRun: false,
  }
}
