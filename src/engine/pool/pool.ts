import { VmcacheError } from '../../base/errors.js'
import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'
import {
  CHUNK_FLAG,
  CHUNK_HEADER_BYTES,
  CHUNK_KIND,
  readChunkHeader,
  type ChunkHeader,
} from '../../format/chunk-header.js'
import { FIRST_CHUNK_OFFSET, FORMAT_VERSION, type Superblock, type SuperblockDevice } from '../../format/superblock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { RESERVE_CHUNKS, writeFreeHeader } from '../log/log.js'
import { eraseSuperblocks, newerFormat, readSuperblock, writeSuperblock } from './superblocks.js'

/** Chunk generations of one opening of a cache: each opening has its own, above all earlier ones. */
const GENERATIONS_PER_OPEN = 2 ** 24
const CONCURRENT_READS = 16

/** A chunk by its place; what threads send each other. */
export interface ChunkPlace {
  readonly deviceIndex: number
  readonly index: number
  /** The last generation used for it. */
  readonly generation: number
}

export interface FoundChunkPlace extends ChunkPlace {
  readonly header: ChunkHeader
}

export interface PoolDevice {
  readonly device: Device
  superblock: Superblock
}

/** How many chunks a device of that size gives. */
export function chunksOf(deviceBytes: number, chunkBytes: number): number {
  return Math.max(0, Math.floor((deviceBytes - FIRST_CHUNK_OFFSET) / chunkBytes))
}

export function chunkOffset(superblock: { firstChunkOffset: number; chunkBytes: number }, index: number): number {
  return superblock.firstChunkOffset + index * superblock.chunkBytes
}

/** Writes superblocks for a new cache on devices that were found fit for it. Returns them with the cache's new ids. */
export async function formatDevices(
  devices: readonly Device[],
  settings: {
    readonly name: string
    readonly blockBytes: number
    readonly chunkBytes: number
    readonly hostId: string
  },
  { random, clock }: { readonly random: Random; readonly clock: Clock },
): Promise<PoolDevice[]> {
  const list = devices.map((device) => ({
    id: random.id(),
    chunkCount: chunksOf(device.sizeBytes, settings.chunkBytes),
  }))
  const cacheId = random.id()
  const createdAt = clock.now()
  const formatted: PoolDevice[] = []
  for (const [index, device] of devices.entries()) {
    const superblock: Superblock = {
      version: FORMAT_VERSION,
      deviceIndex: index,
      deviceCount: devices.length,
      flags: 0,
      cacheId,
      deviceId: list[index]!.id,
      hostId: settings.hostId,
      writeCount: 0,
      openCount: 0,
      createdAt,
      firstChunkOffset: FIRST_CHUNK_OFFSET,
      chunkBytes: settings.chunkBytes,
      chunkCount: list[index]!.chunkCount,
      logicalBlockBytes: device.logicalBlockBytes,
      blockBytes: settings.blockBytes,
      cacheName: settings.name,
      devices: list,
    }
    // The other copy may be one of an earlier cache, and newer by its count.
    await eraseSuperblocks(device)
    await clearHeaders(device, superblock, clock.now())
    formatted.push({ device, superblock: await writeSuperblock(device, superblock) })
  }
  return formatted
}

/** Writes free headers where a device that held something else has other bytes in their places. */
async function clearHeaders(device: Device, superblock: Superblock, now: number): Promise<void> {
  const block = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    for (let index = 0; index < superblock.chunkCount; index++) {
      const offset = chunkOffset(superblock, index)
      await device.read(offset, block, 0, CHUNK_HEADER_BYTES)
      if (readChunkHeader(block, 0).kind === 'unused') continue
      await writeFreeHeader(
        { device, deviceIndex: superblock.deviceIndex, index, offset, generation: 0 },
        superblock.cacheId,
        now,
      )
    }
  } finally {
    releaseAligned(block)
  }
}

/** The chunks of an open cache: which are free, and which logs hold the others. One opening has one pool. */
export class Pool {
  readonly #free: ChunkPlace[][]
  readonly #logs = new Map<string, FoundChunkPlace[]>()
  /** Chunks whose header was found damaged when the cache was opened; every log that is only a cache was given up for it. */
  damagedChunks = 0
  /** Logs that may hold what their origins lack, and of which a damaged chunk may have been the newest. */
  readonly doubtfulLogs = new Set<string>()
  /** Positions of devices that are not used any more. */
  readonly #failed = new Set<number>()

  private constructor(
    readonly devices: readonly PoolDevice[],
    /** Devices of the cache that are not here: what any log has may be cut. */
    readonly missing: readonly SuperblockDevice[],
  ) {
    this.#free = devices.map(() => [])
  }

  /**
   * Opens the devices of a cache: all that its superblocks list, or with `allowMissing` those that are here. DEVICE_MISSING names what is not
   * there, DEVICE_FOREIGN what belongs to something else. Before anything else is written the opening is counted on stable storage.
   */
  static async open(opened: readonly Device[], options: { readonly allowMissing: boolean }): Promise<Pool> {
    const found: PoolDevice[] = []
    for (const device of opened) {
      const superblock = await readSuperblock(device)
      if (superblock === undefined) {
        throw new VmcacheError('DEVICE_FOREIGN', `device ${device.path} holds no vmcache superblock`, {
          hint: 'name the devices that the cache was created with',
          details: { path: device.path },
        })
      }
      checkSize(device, superblock)
      found.push({ device, superblock })
    }
    const missing = missingDevices(found)
    if (!options.allowMissing) refuseMissing(found, missing)
    found.sort((a, b) => a.superblock.deviceIndex - b.superblock.deviceIndex)
    const openCount = Math.max(...found.map(({ superblock }) => superblock.openCount)) + 1
    for (const each of found) each.superblock = await writeSuperblock(each.device, { ...each.superblock, openCount })
    const pool = new Pool(found, missing)
    await pool.#scan(openCount * GENERATIONS_PER_OPEN)
    return pool
  }

  get cacheId(): string {
    return this.devices[0]!.superblock.cacheId
  }
  get cacheName(): string {
    return this.devices[0]!.superblock.cacheName
  }
  get chunkBytes(): number {
    return this.devices[0]!.superblock.chunkBytes
  }
  get blockBytes(): number {
    return this.devices[0]!.superblock.blockBytes
  }
  /** Of all devices, also of those that are missing or have failed. */
  get totalChunks(): number {
    return this.devices[0]!.superblock.devices.reduce((sum, { chunkCount }) => sum + chunkCount, 0)
  }
  get usableChunks(): number {
    return this.devices.reduce(
      (sum, { superblock }, index) => (this.#failed.has(index) ? sum : sum + superblock.chunkCount),
      0,
    )
  }
  get freeChunks(): number {
    return this.#free.reduce((sum, free) => sum + free.length, 0)
  }
  /** Free chunks that are not kept back. */
  get availableChunks(): number {
    return this.#logs.size === 0 ? this.freeChunks : Math.max(0, this.freeChunks - this.#keptChunks)
  }
  /** Chunks that each log has, and the newest header that names its disk. */
  get logs(): ReadonlyMap<string, readonly FoundChunkPlace[]> {
    return this.#logs
  }

  async #scan(firstGeneration: number): Promise<void> {
    const places = this.devices.flatMap(({ superblock }, deviceIndex) =>
      Array.from({ length: superblock.chunkCount }, (_, index) => ({
        deviceIndex,
        index,
        generation: firstGeneration,
      })),
    )
    const damaged: ChunkPlace[] = []
    await this.#readHeaders(places, (place, header, isDamaged) => {
      if (header !== undefined)
        this.#found({ ...place, generation: Math.max(firstGeneration, header.generation) }, header)
      else if (isDamaged) damaged.push(place)
      else this.#free[place.deviceIndex]!.push(place)
    })
    if (damaged.length > 0) await this.#discardLogs(damaged)
    await this.#commitFree()
    for (const free of this.#free) free.sort((a, b) => b.index - a.index)
  }

  /**
   * A chunk whose header is damaged may have been the newest of any log, and what it said of older pages is gone: no log is to be
   * believed. Those that are clean are given up; the damaged chunks last, so that a crash in between changes nothing, and not at all while a
   * log may hold what its origin lacks: that is for a human to decide.
   */
  async #discardLogs(damaged: readonly ChunkPlace[]): Promise<void> {
    this.damagedChunks = damaged.length
    const given: ChunkPlace[] = []
    for (const [logId, chunks] of this.#logs) {
      if (chunks.some(mayBeDirty)) this.doubtfulLogs.add(logId)
      else given.push(...chunks)
    }
    if (this.doubtfulLogs.size === 0) given.push(...damaged)
    for (const { deviceIndex, index, generation } of given) {
      const { device, superblock } = this.devices[deviceIndex]!
      const chunk = { device, deviceIndex, index, offset: chunkOffset(superblock, index), generation }
      await writeFreeHeader(chunk, this.cacheId, superblock.createdAt)
      this.#free[deviceIndex]!.push({ deviceIndex, index, generation: chunk.generation })
    }
    for (const logId of [...this.#logs.keys()]) if (!this.doubtfulLogs.has(logId)) this.#logs.delete(logId)
  }

  /** Chunks that are kept back for logs that are still to be opened: a dirty one goes on in a new chunk before anything else. */
  get #keptChunks(): number {
    let kept = 0
    for (const chunks of this.#logs.values()) if (chunks.some(mayBeDirty)) kept += RESERVE_CHUNKS
    return kept
  }

  /**
   * A free header may be in the page cache alone, from an engine that was killed before its sync: a power cut would bring back what
   * stood there before, beside a new tenant.
   */
  async #commitFree(): Promise<void> {
    for (const [deviceIndex, { device, superblock }] of this.devices.entries()) {
      const ranges = this.#free[deviceIndex]!.map(({ index }) => ({
        offset: chunkOffset(superblock, index),
        length: CHUNK_HEADER_BYTES,
      }))
      if (ranges.length > 0) await device.commit(ranges)
    }
  }

  #found(place: ChunkPlace, header: ChunkHeader): void {
    if (header.kind === CHUNK_KIND.free) {
      this.#free[place.deviceIndex]!.push(place)
      return
    }
    // What a later version of the software keeps in it is not ours to overwrite.
    if (header.kind !== CHUNK_KIND.log) return
    const chunks = this.#logs.get(header.logId)
    if (chunks === undefined) this.#logs.set(header.logId, [{ ...place, header }])
    else chunks.push({ ...place, header })
  }

  /** Reads chunk headers; undefined stands for one that is none, or is not of this cache. */
  async #readHeaders(
    places: readonly ChunkPlace[],
    each: (place: ChunkPlace, header: ChunkHeader | undefined, isDamaged: boolean) => void,
  ): Promise<void> {
    let next = 0
    const run = async (): Promise<void> => {
      const block = alignedBuffer(CHUNK_HEADER_BYTES)
      try {
        while (next < places.length) {
          const place = places[next++]!
          const { device, superblock } = this.devices[place.deviceIndex]!
          await device.read(chunkOffset(superblock, place.index), block, 0, CHUNK_HEADER_BYTES)
          const reading = readChunkHeader(block, 0)
          if (reading.kind === 'newer') throw newerFormat(device.path, reading.version)
          const isMine = reading.kind === 'header' && reading.header.cacheId === superblock.cacheId
          each(place, isMine ? reading.header : undefined, reading.kind === 'damaged')
        }
      } finally {
        releaseAligned(block)
      }
    }
    await Promise.all(Array.from({ length: CONCURRENT_READS }, run))
  }

  /** A free chunk, of the preferred device while that has any. */
  take(preferredDevice?: number): ChunkPlace | undefined {
    if (this.availableChunks === 0) return undefined
    const preferred = preferredDevice === undefined ? undefined : this.#free[preferredDevice]
    if (preferred !== undefined && preferred.length > 0) return preferred.pop()
    let fullest: ChunkPlace[] | undefined
    for (const free of this.#free) if (fullest === undefined || free.length > fullest.length) fullest = free
    return fullest?.pop()
  }

  /** A chunk whose free header is on stable storage. */
  give(place: ChunkPlace): void {
    if (!this.#failed.has(place.deviceIndex)) this.#free[place.deviceIndex]!.push(place)
  }

  /** Gives no chunk of the device any more. */
  fail(deviceIndex: number): void {
    this.#failed.add(deviceIndex)
    this.#free[deviceIndex] = []
  }

  /** The chunks of a log, which the caller now holds. */
  claim(logId: string): readonly FoundChunkPlace[] {
    const chunks = this.#logs.get(logId) ?? []
    this.#logs.delete(logId)
    this.doubtfulLogs.delete(logId)
    return chunks
  }

  /** Takes back chunks that a tenant held, as far as their headers still say that they are a log's; none of a device that failed. */
  async returnLog(places: readonly ChunkPlace[]): Promise<void> {
    const usable = places.filter(({ deviceIndex }) => !this.#failed.has(deviceIndex))
    await this.#readHeaders(usable, (place, header) => {
      if (header?.kind === CHUNK_KIND.log)
        this.#found({ ...place, generation: Math.max(place.generation, header.generation) }, header)
    })
  }
}

function mayBeDirty({ header }: FoundChunkPlace): boolean {
  return (header.flags & CHUNK_FLAG.writeBack) !== 0
}

/** CORRUPT where a device ends before its last chunk: it was cut, or another one took its path. */
function checkSize(device: Device, superblock: Superblock): void {
  const expected = chunkOffset(superblock, superblock.chunkCount)
  if (device.sizeBytes >= expected) return
  throw new VmcacheError(
    'CORRUPT',
    `device ${device.path} has ${device.sizeBytes} bytes, its superblock says that at least ${expected} belong to cache ${superblock.cacheName}`,
    {
      hint: 'give the device its size back; what was behind its end is lost',
      details: { path: device.path, sizeBytes: device.sizeBytes, expectedBytes: expected },
    },
  )
}

/** The devices that the newest superblock lists and that were not found. DEVICE_FOREIGN where one was found that it does not list. */
function missingDevices(found: readonly PoolDevice[]): SuperblockDevice[] {
  const first = found[0]!.superblock
  for (const { device, superblock } of found) {
    if (superblock.cacheId !== first.cacheId) {
      throw new VmcacheError(
        'DEVICE_FOREIGN',
        `device ${device.path} belongs to cache ${superblock.cacheName}, not to ${first.cacheName} like ${found[0]!.device.path}`,
        { hint: 'name the devices of one cache', details: { path: device.path } },
      )
    }
  }
  const seen = new Set(found.map(({ superblock }) => superblock.deviceId))
  if (seen.size !== found.length) {
    throw new VmcacheError('USAGE', `a device of cache ${first.cacheName} is named twice`, {
      hint: 'name each device once',
    })
  }
  return first.devices.filter(({ id }) => !seen.has(id))
}

function refuseMissing(found: readonly PoolDevice[], missing: readonly SuperblockDevice[]): void {
  if (missing.length === 0) return
  const { cacheName, deviceCount } = found[0]!.superblock
  const ids = missing.map(({ id }) => id)
  throw new VmcacheError(
    'DEVICE_MISSING',
    `cache ${cacheName} has ${deviceCount} devices, ${found.length} of them are here; missing: ${ids.join(', ')}`,
    { hint: 'bring the missing device back, then try again', details: { missing: ids } },
  )
}
