/**
 * engine/checkpoint/: checkpoints: objects that hold what a hypervisor wrote of a VM, streamed through unix sockets, in the chunks of a cache or
 * in files; and the chunks that are promised to them. Words: a *reservation* is what a VM was promised for its next checkpoint; a *claim* is what one that is being
 * written is promised still.
 */
import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { formatSize } from '../../base/units.js'
import type { CheckpointSource, CheckpointWatch, EngineCheckpoint, StreamWatch } from '../checkpoint.js'
import type { Device } from '../device/device.js'
import type { Chunk } from '../log/chunk-source.js'
import { freeObject } from '../object/free-object.js'
import { readAttributes, readStream } from '../object/read-object.js'
import { chunksFor, type ObjectChunk, type StoredObject } from '../object/stored-object.js'
import { ObjectWriter, type ObjectTarget } from '../object/write-object.js'
import type { Pool } from '../pool/pool.js'
import type { Borrow, CheckpointKeeper, FilledSource } from './checkpoint-keeper.js'
import { acceptOne, interrupted } from './checkpoint-socket.js'
import { attributesOf, completeCheckpoint } from './complete-checkpoint.js'
import { describeCheckpoint } from './describe-checkpoint.js'
import { fromSocket } from './fill.js'
import { makeRoom, type Giver } from './make-room.js'
import { sendStream } from './send-stream.js'
import { createUnderWay } from './under-way.js'

/** Room is made so many chunks ahead of a stream. */
const AHEAD_CHUNKS = 16

/** The cache as its checkpoints see it. */
export interface CheckpointHost {
  readonly name: string
  readonly pool: Pool
  readonly clock: Clock
  /** A device past the page cache, where that is possible. */
  medium(deviceIndex: number): Promise<Device>
  /** Its disks now, each with what it is promised. */
  givers(): Promise<readonly Giver[]>
  /** Chunks that disks keep in any case: what they are promised, and what logs have that are not served. */
  heldBack(): number
  /** Room is being made: I/O threads keep no free chunks, until the end, when logs may be as large as before. */
  collect(isCollecting: boolean): Promise<void>
  /** Chunks may have become free. */
  freed(): void
}

/** The checkpoints of one open cache. */
export class Checkpoints implements CheckpointKeeper {
  readonly #attributes = new Map<string, string>()
  /** Checkpoints that are being read, and by how many. */
  readonly #readers = new Map<string, number>()
  readonly #writing = new Set<string>()
  readonly #underWay = createUnderWay()
  /** How many make room now. */
  #collectors = 0

  constructor(readonly host: CheckpointHost) {}

  /** Cancels what is under way and waits for its end. */
  close(): Promise<void> {
    return this.#underWay.close()
  }

  // ------------------------------------------------------------------------------------------------------ reservations

  async reserve(holder: string, bytes: number, { bestEffort }: { readonly bestEffort: boolean }): Promise<number> {
    const { pool, name } = this.host
    const { reservations, chunkBytes } = pool
    const wanted = Math.ceil(bytes / chunkBytes)
    const before = reservations.of(holder)
    const most = this.#promisable + before
    if (wanted > most && !bestEffort) {
      throw new VmcacheError(
        'NO_SPACE',
        `cache ${name} can promise ${formatSize(most * chunkBytes)} more, ${formatSize(wanted * chunkBytes)} are asked for`,
        {
          hint: 'add a device to the cache, delete a checkpoint, lower the min of a disk, or reserve as much as there is',
          details: { cache: name, wantedBytes: wanted * chunkBytes, promisableBytes: most * chunkBytes },
        },
      )
    }
    const count = Math.min(wanted, most)
    pool.reserve(holder, count)
    if (count < before) this.host.freed()
    return count * chunkBytes
  }

  /** Chunks that may be promised still. */
  get #promisable(): number {
    const { pool, heldBack } = this.host
    return Math.max(0, pool.usableChunks - pool.objectChunks - heldBack() - pool.reservations.total)
  }

  // ----------------------------------------------------------------------------------------------------------- writing

  writeCheckpoint(source: CheckpointSource, watch: StreamWatch): Promise<EngineCheckpoint> {
    const createdAt = this.host.clock.now()
    return this.keep({ ...source, createdAt, fill: fromSocket(source.socket, watch.ready) }, watch)
  }

  keep(source: FilledSource, watch: CheckpointWatch): Promise<EngineCheckpoint> {
    return this.#underWay.run(watch.signal, (signal) => this.#keep(source, { ...watch, signal }))
  }

  async #keep(source: FilledSource, watch: CheckpointWatch): Promise<EngineCheckpoint> {
    const { id, vm } = source
    const { pool } = this.host
    if (pool.objects.has(id) || this.#writing.has(id)) {
      throw new VmcacheError('IN_USE', `cache ${this.host.name} has a checkpoint ${id} already`)
    }
    const attributes = attributesOf(source)
    const { reservations, chunkBytes } = pool
    const expected = source.bytes === null ? 0 : chunksFor(attributes.length, source.bytes, chunkBytes)
    const reserved = reservations.of(vm)
    this.#refuseBeyond(expected - reserved)
    const claim = `checkpoint ${id}`
    pool.reserve(vm, 0)
    pool.reserve(claim, Math.max(expected, reserved))
    this.#writing.add(id)
    try {
      const written = await this.#stream(source, attributes, claim, watch)
      this.#attributes.set(id, source.attributes)
      return this.#describe(written, source.attributes)
    } catch (error) {
      pool.reserve(vm, reserved)
      throw error
    } finally {
      this.#writing.delete(id)
      pool.reserve(claim, 0)
      this.host.freed()
    }
  }

  async #stream(
    source: FilledSource,
    attributes: Buffer,
    claim: string,
    watch: CheckpointWatch,
  ): Promise<StoredObject> {
    const { pool } = this.host
    const { id, createdAt } = source
    const ended = new AbortController()
    const untilEnd = AbortSignal.any([watch.signal, ended.signal])
    const target = this.#target(() => this.#take(claim, untilEnd))
    const writer = new ObjectWriter(target, { id, createdAt, attributes })
    try {
      await this.#prepare(claim, watch.signal)
      const object = await completeCheckpoint(writer, source, watch)
      pool.keepObject(object)
      return object
    } catch (error) {
      // Whoever waits for room needs none any more.
      ended.abort()
      await writer.settled()
      await this.#giveUp(writer)
      throw error
    } finally {
      ended.abort()
      writer.release()
    }
  }

  /** Frees what was taken for a checkpoint that is not to be. */
  async #giveUp({ written, taken }: ObjectWriter): Promise<void> {
    const { pool } = this.host
    if (written === undefined) return pool.giveOfObject(taken)
    // Its seal may have been written.
    const freed = await this.#free({ ...written, state: 'sealed' }).catch(() => [])
    pool.giveOfObject(freed)
  }

  /** Frees the chunks of an object, as far as they can be reached; returns those that nothing of it is in any more. */
  async #free(object: StoredObject): Promise<Chunk[]> {
    const { pool, clock } = this.host
    const hasFailed = ({ chunk }: ObjectChunk): boolean => pool.hasFailed(chunk.deviceIndex)
    const [lost, reachable] = [object.chunks.filter(hasFailed), object.chunks.filter((each) => !hasFailed(each))]
    const isAll = lost.length === 0 && pool.missing.length === 0
    const rest = { ...object, chunks: reachable }
    const freed = reachable.length === 0 ? [] : await freeObject(rest, pool.cacheId, clock.now(), !isAll)
    // Nobody gets those of a device that failed.
    return [...freed, ...lost.map(({ chunk }) => chunk)]
  }

  /** The next chunk of a checkpoint that is being written, of those that it claims or beyond them. */
  async #take(claim: string, signal: AbortSignal): Promise<Chunk> {
    const { pool } = this.host
    const { reservations } = pool
    if (reservations.of(claim) === 0) {
      this.#refuseBeyond(1)
      pool.reserve(claim, 1)
    }
    for (;;) {
      const place = pool.takeForObject()
      if (place !== undefined) {
        reservations.take(claim)
        // Its failure is met by whoever needs a chunk and finds none.
        void this.#prepare(claim, signal).catch(() => undefined)
        return pool.chunkAt(place)
      }
      await this.#makeRoom(1, signal)
    }
  }

  /** Has some of what is claimed ready before it is needed. */
  async #prepare(claim: string, signal: AbortSignal): Promise<void> {
    const { pool } = this.host
    const claimed = pool.reservations.of(claim)
    const isShort = pool.chunksForObjects < Math.min(claimed, AHEAD_CHUNKS / 2)
    if (isShort && this.#collectors === 0) await this.#makeRoom(Math.min(claimed, AHEAD_CHUNKS), signal)
  }

  async #makeRoom(count: number, signal: AbortSignal): Promise<void> {
    const { name, clock, pool, givers } = this.host
    if (pool.chunksForObjects >= count) return
    this.#collectors++
    pool.reservations.isPressing = true
    try {
      await this.host.collect(true)
      await makeRoom(count, { cache: name, clock, signal, free: () => pool.chunksForObjects, givers })
    } finally {
      if (--this.#collectors === 0) {
        pool.setAside()
        pool.reservations.isPressing = false
        await this.host.collect(false)
      }
    }
  }

  /** NO_SPACE where not even by eviction `count` chunks beyond those that are promised can be had. */
  #refuseBeyond(count: number): void {
    const promisable = this.#promisable
    if (count <= promisable) return
    const { name, pool } = this.host
    const { chunkBytes } = pool
    throw new VmcacheError(
      'NO_SPACE',
      `cache ${name} has ${formatSize(promisable * chunkBytes)} for a checkpoint beyond what was reserved for it, ${formatSize(count * chunkBytes)} are needed; ` +
        `checkpoints hold ${formatSize(pool.objectChunks * chunkBytes)}, ${formatSize(pool.reservations.total * chunkBytes)} are reserved`,
      {
        hint: 'add a device to the cache, delete a checkpoint, or lower the min of a disk',
        details: { cache: name, wantedBytes: count * chunkBytes, promisableBytes: promisable * chunkBytes },
      },
    )
  }

  // ----------------------------------------------------------------------------------------------------------- reading

  verifyCheckpoint(id: string, watch: CheckpointWatch): Promise<EngineCheckpoint> {
    return this.#read(id, watch, async (object, signal) => {
      let done = 0
      for await (const { length } of readStream(object, this.#place)) {
        if (signal.aborted) throw interrupted('it was cancelled')
        watch.progress((done += length), object.seal?.streamBytes ?? null, 'bytes')
      }
      return this.#describe(object, (await readAttributes(object, this.#place)).toString())
    })
  }

  readCheckpoint(id: string, path: string, watch: StreamWatch): Promise<void> {
    return this.#read(id, watch, async (object, signal) => {
      const connection = await acceptOne(path, watch.ready, signal)
      let done = 0
      const sent = (bytes: number): void => watch.progress((done += bytes), object.seal?.streamBytes ?? null, 'bytes')
      await sendStream(connection, readStream(object, this.#place), { sent, signal })
    })
  }

  lend<Result>(id: string, watch: CheckpointWatch, use: Borrow<Result>): Promise<Result> {
    return this.#read(id, watch, async (object) => {
      const attributes = await this.#attributesOf(object)
      return use(this.#describe(object, attributes), readStream(object, this.#place))
    })
  }

  #read<T>(
    id: string,
    watch: CheckpointWatch,
    work: (object: StoredObject, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return this.#underWay.run(watch.signal, async (signal) => {
      const object = this.#object(id)
      this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1)
      try {
        return await work(object, signal)
      } finally {
        const left = this.#readers.get(id)! - 1
        if (left === 0) this.#readers.delete(id)
        else this.#readers.set(id, left)
      }
    })
  }

  async checkpoints(): Promise<EngineCheckpoint[]> {
    const sealed = [...this.host.pool.objects.values()].filter(({ state }) => state === 'sealed')
    const described = await Promise.all(
      sealed.map(async (object) => {
        try {
          return this.#describe(object, await this.#attributesOf(object))
        } catch (error) {
          if (!(error instanceof VmcacheError)) throw error
          return { ...this.#describe(object, ''), damage: object.damage ?? error.message }
        }
      }),
    )
    return described.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1))
  }

  async #attributesOf(object: StoredObject): Promise<string> {
    let attributes = this.#attributes.get(object.id)
    if (attributes === undefined) {
      attributes = (await readAttributes(object, this.#place)).toString()
      this.#attributes.set(object.id, attributes)
    }
    return attributes
  }

  // ---------------------------------------------------------------------------------------------------------- deleting

  deleteCheckpoint(id: string): Promise<void> {
    return this.#underWay.run(null, () => this.#delete(id))
  }

  async #delete(id: string): Promise<void> {
    const { pool } = this.host
    const object = this.#object(id)
    if (this.#readers.has(id)) {
      throw new VmcacheError('IN_USE', `checkpoint ${id} in cache ${this.host.name} is being read`, {
        hint: 'wait for the resume, or cancel it',
      })
    }
    await pool.dropObject(id)
    try {
      pool.giveOfObject(await this.#free(object))
      this.#attributes.delete(id)
    } catch (error) {
      pool.keepObject(object)
      throw error
    }
    this.host.freed()
  }

  // ----------------------------------------------------------------------------------------------------------------- all

  #object(id: string): StoredObject {
    const object = this.host.pool.objects.get(id)
    if (object?.state === 'sealed') return object
    throw new VmcacheError('NOT_FOUND', `cache ${this.host.name} has no checkpoint ${id}`)
  }

  #describe(object: StoredObject, attributes: string): EngineCheckpoint {
    return describeCheckpoint(object, attributes, object.chunks.length * this.host.pool.chunkBytes)
  }

  get #place(): Pick<ObjectTarget, 'chunkBytes' | 'medium'> {
    const { pool } = this.host
    return { chunkBytes: pool.chunkBytes, medium: ({ deviceIndex }) => this.host.medium(deviceIndex) }
  }

  #target(take: () => Promise<Chunk>): ObjectTarget {
    return { ...this.#place, cacheId: this.host.pool.cacheId, take }
  }
}
