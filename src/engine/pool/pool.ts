import { appendTo } from '../../base/append-to.js'
import { assert } from '../../base/assert.js'
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
import { decodeObjectHeader, type ObjectHeader } from '../../format/object-header.js'
import { FIRST_CHUNK_OFFSET, FORMAT_VERSION, type Superblock, type SuperblockDevice } from '../../format/superblock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { RESERVE_CHUNKS } from '../log/chunk-reserve.js'
import type { Chunk } from '../log/chunk-source.js'
import { writeFreeHeader } from '../log/free-header.js'
import { eachHeader } from '../object/each-header.js'
import { recoverObjects } from '../object/recover-objects.js'
import type { ObjectChunk, StoredObject } from '../object/stored-object.js'
import { membershipOf, superblockOf, type Membership } from './members.js'
import { Reservations } from './reservations.js'
import { eraseSuperblocks, newerFormat, readSuperblock, writeSuperblock } from './superblocks.js'

/** Chunk generations of one opening of a cache: each opening has its own, above all earlier ones. */
const GENERATIONS_PER_OPEN = 2 ** 24

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

/** What stands at the start of a chunk; `none` also where it is of another cache. */
type FoundHeader =
  | { readonly kind: 'header'; readonly header: ChunkHeader }
  | { readonly kind: 'object'; readonly header: ObjectHeader }
  | { readonly kind: 'none' }
  | { readonly kind: 'damaged' }

/** The chunks of an open cache: which are free, and which logs and objects hold the others. One opening has one pool. */
export class Pool {
  readonly #free: ChunkPlace[][]
  readonly #logs = new Map<string, FoundChunkPlace[]>()
  readonly #objects = new Map<string, StoredObject>()
  /** Chunks of objects, also of those that are being written. */
  #objectChunks = 0
  /** Chunks with a damaged header that are kept, as one of them may be what a sealed object misses. */
  #doubtful: ChunkPlace[] = []
  /** Chunks that are promised to objects; those that are set aside no log gets. */
  readonly reservations = new Reservations()
  /** Chunks whose header was found damaged when the cache was opened; every log that is only a cache was given up for it. */
  damagedChunks = 0
  /** Logs that may hold what their origins lack, and of which a damaged chunk may have been the newest. */
  readonly doubtfulLogs = new Set<string>()
  /** Positions of devices that are not used any more. */
  readonly #failed = new Set<number>()

  /** Positions of devices of which no chunk is handed out, as they are being removed. */
  readonly #retired = new Set<number>()
  /** Positions of devices that were removed. */
  readonly #removed = new Set<number>()
  readonly #devices: PoolDevice[]
  #missing: readonly SuperblockDevice[]

  private constructor(
    devices: PoolDevice[],
    missing: readonly SuperblockDevice[],
    /** Devices that were opened and that the cache does not have any more: the caller closes them. */
    readonly leftOut: readonly PoolDevice[],
  ) {
    this.#devices = devices
    this.#missing = missing
    this.#free = devices.map(() => [])
  }

  /** By position, which a device keeps; also those that were removed. */
  get devices(): readonly PoolDevice[] {
    return this.#devices
  }
  /** Devices of the cache that are not here: what any log has may be cut. */
  get missing(): readonly SuperblockDevice[] {
    return this.#missing
  }
  /** The devices that the cache has and that are here, with their positions. */
  get members(): readonly (PoolDevice & { readonly position: number })[] {
    return this.#devices.flatMap((each, position) => (this.#removed.has(position) ? [] : [{ ...each, position }]))
  }

  /**
   * Opens the devices of a cache: all that it has (members.ts), or with `allowMissing` those that are here. DEVICE_MISSING names what is not
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
    checkTogether(found)
    const membership = membershipOf(found)
    if (!options.allowMissing) refuseMissing(membership)
    const { members, missing, leftOut } = membership
    const next = { ...membership, openCount: membership.openCount + 1 }
    for (const each of members)
      each.superblock = await writeSuperblock(each.device, superblockOf(each.superblock, next))
    const pool = new Pool([...members], [...missing], leftOut)
    await pool.#scan(next.openCount * GENERATIONS_PER_OPEN)
    return pool
  }

  /** What the devices have in common is in each. */
  get #superblock(): Superblock {
    return this.members[0]!.superblock
  }
  hasFailed(position: number): boolean {
    return this.#failed.has(position)
  }
  #isUsable(position: number): boolean {
    return !this.#failed.has(position) && !this.#retired.has(position) && !this.#removed.has(position)
  }
  /** Chunks of a device that are not free; none of one that has failed. */
  heldOn(position: number): number {
    if (this.#failed.has(position)) return 0
    return this.#devices[position]!.superblock.chunkCount - this.#free[position]!.length
  }

  get cacheId(): string {
    return this.#superblock.cacheId
  }
  get cacheName(): string {
    return this.#superblock.cacheName
  }
  get chunkBytes(): number {
    return this.#superblock.chunkBytes
  }
  get blockBytes(): number {
    return this.#superblock.blockBytes
  }
  /** Of all devices, also of those that are missing or have failed. */
  get totalChunks(): number {
    return this.#superblock.devices.reduce((sum, { chunkCount }) => sum + chunkCount, 0)
  }
  /** Of the devices that chunks are handed out of. */
  get usableChunks(): number {
    return this.members.reduce(
      (sum, { superblock, position }) => (this.#isUsable(position) ? sum + superblock.chunkCount : sum),
      0,
    )
  }
  /** Chunks that logs share. */
  get sharedChunks(): number {
    return Math.max(0, this.usableChunks - this.objectChunks - this.reservations.total)
  }
  get freeChunks(): number {
    return this.#free.reduce((sum, free, position) => (this.#isUsable(position) ? sum + free.length : sum), 0)
  }
  /** Those that are not free, of all devices that have not failed. */
  get heldChunks(): number {
    return this.members.reduce((sum, { position }) => sum + this.heldOn(position), 0)
  }
  /** Free chunks that a log may have. */
  get availableChunks(): number {
    return Math.max(0, this.chunksForObjects - this.reservations.aside)
  }
  /** Free chunks that an object may have: those that are not kept back for logs that are still to be opened. */
  get chunksForObjects(): number {
    return this.#logs.size === 0 ? this.freeChunks : Math.max(0, this.freeChunks - this.#keptChunks)
  }
  /** Chunks that objects hold, also those that are being written, and chunks that may be of one. */
  get objectChunks(): number {
    return this.#objectChunks + this.#doubtful.length
  }
  /** Chunks that each log has, and the newest header that names its disk. */
  get logs(): ReadonlyMap<string, readonly FoundChunkPlace[]> {
    return this.#logs
  }
  /** Objects that are not being written, by id. */
  get objects(): ReadonlyMap<string, StoredObject> {
    return this.#objects
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
    const ofObjects = new Map<string, ObjectChunk[]>()
    await this.#readHeaders(places, (place, found) => {
      if (found.kind === 'none') this.#free[place.deviceIndex]!.push(place)
      else if (found.kind === 'damaged') damaged.push(place)
      else {
        const known = { ...place, generation: Math.max(firstGeneration, found.header.generation) }
        if (found.kind === 'header') this.#found(known, found.header)
        else appendTo(ofObjects, found.header.objectId, { chunk: this.chunkAt(known), header: found.header })
      }
    })
    await this.#recoverObjects(ofObjects)
    if (damaged.length > 0 && !this.#explains(damaged)) await this.#discardLogs(damaged)
    await this.#commitFree()
    for (const free of this.#free) free.sort((a, b) => b.index - a.index)
  }

  async #recoverObjects(found: ReadonlyMap<string, readonly ObjectChunk[]>): Promise<void> {
    const { cacheId, createdAt } = this.#superblock
    const isWhole = this.missing.length === 0
    const { objects, freed } = await recoverObjects(found, { cacheId, now: createdAt, isWhole })
    for (const object of objects) this.keepObject(object)
    this.#objectChunks = objects.reduce((sum, { chunks }) => sum + chunks.length, 0)
    for (const { deviceIndex, index, generation } of freed)
      this.#free[deviceIndex]!.push({ deviceIndex, index, generation })
  }

  /**
   * Whether the chunks with a damaged header are those that sealed objects miss, so that no log had one of them. They are kept, as some of
   * what an object misses may be read.
   */
  #explains(damaged: readonly ChunkPlace[]): boolean {
    const missing = this.#missingOfObjects
    if (missing === 0) return false
    this.damagedChunks = damaged.length
    this.#doubtful = [...damaged]
    return this.missing.length === 0 && missing === damaged.length
  }

  get #missingOfObjects(): number {
    return [...this.#objects.values()].reduce((sum, { missingChunks }) => sum + missingChunks, 0)
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
    if (this.doubtfulLogs.size === 0 && this.#doubtful.length === 0) given.push(...damaged)
    await this.#writeFree(given)
    for (const logId of [...this.#logs.keys()]) if (!this.doubtfulLogs.has(logId)) this.#logs.delete(logId)
  }

  async #writeFree(places: readonly ChunkPlace[]): Promise<void> {
    for (const place of places) {
      const chunk = this.chunkAt(place)
      await writeFreeHeader(chunk, this.cacheId, this.#superblock.createdAt)
      this.give({ ...place, generation: chunk.generation })
    }
  }

  /** A chunk as its tenant holds it. */
  chunkAt({ deviceIndex, index, generation }: ChunkPlace): Chunk {
    const { device, superblock } = this.devices[deviceIndex]!
    return { device, deviceIndex, index, offset: chunkOffset(superblock, index), generation }
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
    appendTo(this.#logs, header.logId, { ...place, header })
  }

  async #readHeaders(
    places: readonly ChunkPlace[],
    each: (place: ChunkPlace, found: FoundHeader) => void,
  ): Promise<void> {
    await eachHeader(places, async (place, block) => {
      const { device, superblock } = this.devices[place.deviceIndex]!
      await device.read(chunkOffset(superblock, place.index), block, 0, CHUNK_HEADER_BYTES)
      each(place, foundHeader(block, device, superblock.cacheId))
    })
  }

  /** A free chunk for a log, of the preferred device while that has any. */
  take(preferredDevice?: number): ChunkPlace | undefined {
    return this.availableChunks === 0 ? undefined : this.#pop(preferredDevice)
  }

  /** The same for an object, also of those that are promised. */
  takeForObject(preferredDevice?: number): ChunkPlace | undefined {
    const place = this.chunksForObjects === 0 ? undefined : this.#pop(preferredDevice)
    if (place !== undefined) this.#objectChunks++
    return place
  }

  #pop(preferredDevice: number | undefined): ChunkPlace | undefined {
    const preferred =
      preferredDevice === undefined || !this.#isUsable(preferredDevice) ? undefined : this.#free[preferredDevice]
    if (preferred !== undefined && preferred.length > 0) return preferred.pop()
    const usable = this.#free.filter((_, position) => this.#isUsable(position))
    return usable.reduce<ChunkPlace[]>((best, free) => (free.length > best.length ? free : best), []).pop()
  }

  /** A chunk whose free header is on stable storage. */
  give(place: ChunkPlace): void {
    if (!this.#failed.has(place.deviceIndex)) this.#free[place.deviceIndex]!.push(place)
  }

  /** Nobody waits for a chunk: what is free is set aside for those to whom it is promised. */
  setAside(): void {
    this.reservations.setAside(this.chunksForObjects)
  }

  /** Promises chunks to an object, as {@link Reservations.set} does. */
  reserve(holder: string, count: number): void {
    this.reservations.set(holder, count, this.chunksForObjects)
  }

  /** Chunks that an object held, and whose free headers are on stable storage. */
  giveOfObject(places: readonly ChunkPlace[]): void {
    this.#objectChunks -= places.length
    for (const { deviceIndex, index, generation } of places) this.give({ deviceIndex, index, generation })
  }

  /** An object that holds its chunks from now on. */
  keepObject(object: StoredObject): void {
    this.#objects.set(object.id, object)
  }

  /** The object is gone. What was kept for objects that miss a chunk is freed with the last of them. */
  async dropObject(id: string): Promise<void> {
    this.#objects.delete(id)
    if (this.#doubtful.length === 0 || this.#missingOfObjects > 0 || this.doubtfulLogs.size > 0) return
    await this.#writeFree(this.#doubtful.splice(0))
  }

  /** Gives no chunk of the device any more. */
  fail(deviceIndex: number): void {
    this.#failed.add(deviceIndex)
    this.#free[deviceIndex] = []
  }

  /** Hands out no chunk of the device; those that are given back are kept, until {@link readmit} or {@link remove}. */
  retire(position: number): void {
    this.#retired.add(position)
  }

  readmit(position: number): void {
    this.#retired.delete(position)
  }

  /**
   * Takes up a device that holds nothing, in the order that members.ts tells: `record` writes down that the cache has it. Returns its position.
   * Where `record` rejects the device is left as it is: nobody knows whether it was written down all the same.
   */
  async add(
    device: Device,
    { id, chunkCount }: SuperblockDevice,
    { clock, record }: { readonly clock: Clock; readonly record: () => Promise<void> },
  ): Promise<number> {
    const next = this.#nextMembership([...this.#superblock.devices, { id, chunkCount }])
    const { logicalBlockBytes } = device
    let superblock: Superblock = { ...this.#superblock, deviceId: id, chunkCount, logicalBlockBytes, writeCount: 0 }
    await eraseSuperblocks(device)
    await clearHeaders(device, superblock, clock.now())
    superblock = await writeSuperblock(device, superblockOf(superblock, next))
    await record()
    await this.#writeMembership(next)
    const position = this.#devices.push({ device, superblock }) - 1
    const generation = next.openCount * GENERATIONS_PER_OPEN
    this.#free.push(
      Array.from({ length: chunkCount }, (_, index) => ({
        deviceIndex: position,
        index: chunkCount - 1 - index,
        generation,
      })),
    )
    return position
  }

  /** The cache does not have the device at `position` any more, of which no chunk is held: written to all others, on stable storage. */
  async remove(position: number): Promise<void> {
    assert(this.heldOn(position) === 0, 'a device that is removed holds nothing')
    const { deviceId } = this.#devices[position]!.superblock
    this.#removed.add(position)
    await this.#writeMembership(this.#nextMembership(this.#superblock.devices.filter(({ id }) => id !== deviceId)))
  }

  /** The same for a device that is not here. */
  async removeMissing(deviceId: string): Promise<void> {
    await this.#writeMembership(this.#nextMembership(this.#superblock.devices.filter(({ id }) => id !== deviceId)))
    this.#missing = this.#missing.filter(({ id }) => id !== deviceId)
  }

  #nextMembership(list: readonly SuperblockDevice[]): Pick<Membership<PoolDevice>, 'list' | 'openCount'> {
    return { list, openCount: Math.max(...this.members.map(({ superblock }) => superblock.openCount)) + 1 }
  }

  /**
   * Once one device is written there is no way back: one that cannot be written has failed, and the others go on. Rejects where none can be.
   */
  async #writeMembership(next: Pick<Membership<PoolDevice>, 'list' | 'openCount'>): Promise<void> {
    const outcomes: PromiseSettledResult<void>[] = []
    for (const { position } of this.members) {
      const each = this.#devices[position]!
      const superblock = superblockOf(each.superblock, next)
      if (!this.#failed.has(position)) {
        outcomes.push(
          ...(await Promise.allSettled([
            writeSuperblock(each.device, superblock).then((written) => void (each.superblock = written)),
          ])),
        )
      }
      each.superblock = { ...superblock, writeCount: each.superblock.writeCount }
    }
    const failure = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failure !== undefined && outcomes.every(({ status }) => status === 'rejected')) throw failure.reason
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
    await this.#readHeaders(usable, (place, found) => {
      if (found.kind === 'header' && found.header.kind === CHUNK_KIND.log)
        this.#found({ ...place, generation: Math.max(place.generation, found.header.generation) }, found.header)
    })
  }
}

/** What a block says that was read from the start of a chunk. DEVICE_FOREIGN where a newer vmcache wrote it. */
function foundHeader(block: Buffer, { path }: Device, cacheId: string): FoundHeader {
  const reading = readChunkHeader(block, 0)
  switch (reading.kind) {
    case 'newer':
      throw newerFormat(path, reading.version)
    case 'header':
      return reading.header.cacheId === cacheId ? reading : { kind: 'none' }
    case 'object': {
      const header = reading.cacheId === cacheId ? decodeObjectHeader(block, 0) : undefined
      return header === undefined ? { kind: 'none' } : { kind: 'object', header }
    }
    case 'unused':
      return { kind: 'none' }
    case 'damaged':
      return reading
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

/** DEVICE_FOREIGN unless all are of one cache; USAGE where one is named twice. */
function checkTogether(found: readonly PoolDevice[]): void {
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
}

function refuseMissing({ members, missing, list }: Membership<PoolDevice>): void {
  if (missing.length === 0) return
  const { cacheName } = members[0]!.superblock
  const ids = missing.map(({ id }) => id)
  throw new VmcacheError(
    'DEVICE_MISSING',
    `cache ${cacheName} has ${list.length} devices, ${members.length} of them are here; missing: ${ids.join(', ')}`,
    { hint: 'bring the missing device back, then try again', details: { missing: ids } },
  )
}
