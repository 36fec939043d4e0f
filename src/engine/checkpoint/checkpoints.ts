/**
 * engine/checkpoint/: the checkpoints of a cache: objects that hold what a hypervisor wrote of a VM, streamed through unix sockets; and the chunks
 * that are promised to them. Words: a *reservation* is what a VM was promised for its next checkpoint; a *claim* is what one that is being
 * written is promised still.
 */
import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { formatSize } from '../../base/units.js'
import { MAXIMUM_ATTRIBUTE_BYTES, MAXIMUM_VM_NAME_BYTES } from '../../format/object-header.js'
import type {
  CheckpointEngine,
  CheckpointSource,
  CheckpointWatch,
  EngineCheckpoint,
  StreamWatch,
} from '../checkpoint.js'
import type { Device } from '../device/device.js'
import type { Chunk } from '../log/chunk-source.js'
import { completeObject } from '../object/complete-object.js'
import { freeObject } from '../object/free-object.js'
import { readAttributes, readStream } from '../object/read-object.js'
import { chunksFor, type ObjectChunk, type StoredObject } from '../object/stored-object.js'
import { ObjectWriter, type ObjectTarget } from '../object/write-object.js'
import type { Pool } from '../pool/pool.js'
import { acceptOne, interrupted } from './checkpoint-socket.js'
import { makeRoom, type Giver } from './make-room.js'
import { receiveStream } from './receive-stream.js'
import { sendStream } from './send-stream.js'

/** Room is made so many chunks ahead of a stream. */
const AHEAD_CHUNKS = 16
/** Between two words about progress. */
const PROGRESS_BYTES = 8 * 1024 * 1024

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

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

type Operations = {
  [K in keyof CheckpointEngine]: CheckpointEngine[K] extends (cache: string, ...rest: infer R) => infer T
    ? (...rest: R) => T
    : never
}

/** The checkpoints of one open cache. */
export class Checkpoints implements Operations {
  readonly #attributes = new Map<string, string>()
  /** Checkpoints that are being read, and by how many. */
  readonly #readers = new Map<string, number>()
  readonly #writing = new Set<string>()
  readonly #underWay = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()
  /** How many make room now. */
  #collectors = 0

  constructor(readonly host: CheckpointHost) {}

  /** Cancels what is under way and waits for its end. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#underWay)
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
    return this.#run(watch, (signal) => this.#write(source, { ...watch, signal }))
  }

  async #write(source: CheckpointSource, watch: StreamWatch): Promise<EngineCheckpoint> {
    const { id, vm } = source
    const { pool } = this.host
    if (pool.objects.has(id) || this.#writing.has(id)) {
      throw new VmcacheError('IN_USE', `cache ${this.host.name} has a checkpoint ${id} already`)
    }
    if (!UUID.test(vm)) throw new VmcacheError('USAGE', `${vm} is not the UUID of a VM`)
    const attributes = Buffer.from(source.attributes)
    if (attributes.length > MAXIMUM_ATTRIBUTE_BYTES) {
      throw new VmcacheError(
        'USAGE',
        `the attributes of a checkpoint have ${attributes.length} bytes, at most ${MAXIMUM_ATTRIBUTE_BYTES} are kept`,
      )
    }
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
    { id, vm, name, socket: path }: CheckpointSource,
    attributes: Buffer,
    claim: string,
    { ready, progress, signal }: StreamWatch,
  ): Promise<StoredObject> {
    const { pool, clock } = this.host
    const ended = new AbortController()
    const untilEnd = AbortSignal.any([signal, ended.signal])
    const target = this.#target(() => this.#take(claim, untilEnd))
    const writer = new ObjectWriter(target, { id, createdAt: clock.now(), attributes })
    try {
      await this.#prepare(claim, signal)
      const connection = await acceptOne(path, ready, signal)
      const tell = everySoOften((done) => progress(done, null, 'bytes'))
      await receiveStream(connection, writer, { received: () => tell(writer.streamBytes), signal })
      let verified = 0
      const { streamBytes } = writer
      const whose = { vm: vm.replaceAll('-', '').toLowerCase(), name: cutText(name, MAXIMUM_VM_NAME_BYTES) }
      const object = await completeObject(writer, whose, (bytes) => {
        if (signal.aborted) throw interrupted('it was cancelled')
        progress((verified += bytes), streamBytes, 'bytes', 'reading back')
      })
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

  #read<T>(
    id: string,
    watch: CheckpointWatch,
    work: (object: StoredObject, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return this.#run(watch, async (signal) => {
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
    const signal = this.#closing.signal
    return this.#run({ signal }, () => this.#delete(id))
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
    const { id, seal, chunks, damage } = object
    return {
      id,
      vm: withDashes(seal?.vm ?? '0'.repeat(32)),
      name: seal?.name ?? '',
      bytes: seal?.streamBytes ?? 0,
      storedBytes: chunks.length * this.host.pool.chunkBytes,
      createdAt: new Date(chunks[0]!.header.createdAt).toISOString(),
      attributes,
      damage,
    }
  }

  get #place(): Pick<ObjectTarget, 'chunkBytes' | 'medium'> {
    const { pool } = this.host
    return { chunkBytes: pool.chunkBytes, medium: ({ deviceIndex }) => this.host.medium(deviceIndex) }
  }

  #target(take: () => Promise<Chunk>): ObjectTarget {
    return { ...this.#place, cacheId: this.host.pool.cacheId, take }
  }

  /** Runs an operation that also ends when the cache is closed. */
  async #run<T>({ signal }: { readonly signal: AbortSignal }, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const running = work(AbortSignal.any([signal, this.#closing.signal]))
    this.#underWay.add(running)
    try {
      return await running
    } finally {
      this.#underWay.delete(running)
    }
  }
}

function everySoOften(tell: (done: number) => void): (done: number) => void {
  let told = 0
  return (done) => {
    if (done - told < PROGRESS_BYTES) return
    told = done
    tell(done)
  }
}

/** As much of a text as fits, in whole characters. */
function cutText(text: string, bytes: number): string {
  let cut = text
  while (Buffer.byteLength(cut) > bytes) cut = [...cut].slice(0, -1).join('')
  return cut
}

function withDashes(id: string): string {
  return [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-')
}
