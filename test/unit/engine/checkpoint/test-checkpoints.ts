/** The checkpoints of a cache on real files, streamed through real sockets; its disks are numbers. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, type Clock } from '../../../../src/base/clock.js'
import { SeededRandom } from '../../../../src/base/random.js'
import type { CheckpointSource, EngineCheckpoint, StreamWatch } from '../../../../src/engine/checkpoint.js'
import { Checkpoints } from '../../../../src/engine/checkpoint/checkpoints.js'
import type { Giver } from '../../../../src/engine/checkpoint/make-room.js'
import type { Device } from '../../../../src/engine/device/device.js'
import { openDevice } from '../../../../src/engine/device/open-device.js'
import { openMedium } from '../../../../src/engine/device/open-medium.js'
import { writeFreeHeader } from '../../../../src/engine/log/free-header.js'
import { Pool, formatDevices, type ChunkPlace } from '../../../../src/engine/pool/pool.js'
import { FIRST_CHUNK_OFFSET } from '../../../../src/format/superblock.js'

export const CHUNK_BYTES = 1024 * 1024
export const VM = '11111111-2222-3333-4444-555555555555'
const NOTHING = () => undefined
const NEVER = new AbortController().signal

/** A disk whose log holds chunks and gives them up when it is told to. */
export class TestDisk {
  readonly held: ChunkPlace[] = []
  isDirty = false
  /** Its origin takes what is dirty. */
  isFlushable = true
  floor = 8

  constructor(
    readonly name: string,
    readonly pool: () => Pool,
  ) {}

  grow(count: number): void {
    for (let taken = 0; taken < count; taken++) {
      const place = this.pool().take()
      if (place === undefined) throw new Error(`no chunk is left for ${this.name}`)
      this.held.push(place)
    }
  }

  giver(): Giver {
    const { name, held, floor, isDirty } = this
    return {
      name,
      chunks: held.length,
      floor,
      shares: 1,
      isDirty,
      limit: async (count) => {
        while (!this.isDirty && this.held.length > count) {
          const chunk = this.pool().chunkAt(this.held.pop()!)
          await writeFreeHeader(chunk, this.pool().cacheId, 0)
          const { deviceIndex, index, generation } = chunk
          this.pool().give({ deviceIndex, index, generation })
        }
      },
      flush: () => {
        if (!this.isFlushable) return Promise.reject(new Error('no such origin'))
        this.isDirty = false
        return Promise.resolve()
      },
    }
  }
}

export class TestCheckpoints {
  readonly directory = mkdtempSync(join(tmpdir(), 'vmcache-checkpoints-'))
  readonly disks: TestDisk[] = []
  pool!: Pool
  checkpoints!: Checkpoints
  devices: Device[] = []
  /** What a device is when it is used past the page cache. */
  onMedium = (device: Device): Device => device
  /** Chunks were said to have become free. */
  freed = 0
  #media: Device[] = []
  #sockets = 0

  private constructor(readonly clock: Clock) {}

  static async create(chunks: readonly number[], clock = systemClock): Promise<TestCheckpoints> {
    const test = new TestCheckpoints(clock)
    const paths = chunks.map((count, index) => {
      const path = join(test.directory, `device${index}`)
      writeFileSync(path, Buffer.alloc(FIRST_CHUNK_OFFSET + count * CHUNK_BYTES))
      return path
    })
    const devices = await Promise.all(paths.map((path) => openDevice(path)))
    await formatDevices(
      devices,
      { name: 'fast', blockBytes: 4096, chunkBytes: CHUNK_BYTES, hostId: '0'.repeat(32) },
      { random: new SeededRandom(1), clock },
    )
    for (const device of devices) await device.close()
    await test.open(paths)
    return test
  }

  async open(paths = this.devices.map(({ path }) => path)): Promise<void> {
    await this.close()
    this.devices = await Promise.all(paths.map((path) => openDevice(path)))
    this.#media = await Promise.all(paths.map((path) => openMedium(path)))
    this.disks.length = 0
    this.pool = await Pool.open(this.devices, { allowMissing: false })
    this.checkpoints = new Checkpoints({
      name: 'fast',
      pool: this.pool,
      clock: this.clock,
      medium: (index) => Promise.resolve(this.onMedium(this.#media[index]!)),
      givers: () => Promise.resolve(this.disks.map((disk) => disk.giver())),
      heldBack: () => this.disks.reduce((sum, { floor }) => sum + floor, 0),
      collect: () => Promise.resolve(),
      freed: () => void this.freed++,
    })
  }

  /** As if the process had died. */
  async close(): Promise<void> {
    for (const device of [...this.devices, ...this.#media]) await device.close()
    this.#media = []
  }

  async end(): Promise<void> {
    await this.checkpoints.close()
    await this.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  addDisk(name: string, chunks: number): TestDisk {
    const disk = new TestDisk(name, () => this.pool)
    this.disks.push(disk)
    disk.grow(chunks)
    return disk
  }

  socketPath(): string {
    return join(this.directory, `s${this.#sockets++}`)
  }

  source(id: string, values: Partial<CheckpointSource> = {}): CheckpointSource {
    return { id, vm: VM, name: 'web01', attributes: '{}', bytes: null, socket: this.socketPath(), ...values }
  }

  /** Writes `stream` as a hypervisor would. `sent` is called with its connection once all of it was written there, which then is closed. */
  async write(
    source: CheckpointSource,
    stream: Buffer,
    watch: Partial<StreamWatch> = {},
    sent: (socket: Socket) => void = (socket) => socket.end(),
  ): Promise<EngineCheckpoint> {
    const ready = (): void => {
      watch.ready?.()
      const socket = connect(source.socket)
      socket.on('error', NOTHING)
      socket.resume()
      socket.write(stream, () => sent(socket))
      if (stream.length === 0) sent(socket)
    }
    return this.checkpoints.writeCheckpoint(source, { progress: NOTHING, signal: NEVER, ...watch, ready })
  }

  /** What a hypervisor gets that is to go on from a checkpoint. */
  async read(id: string, watch: Partial<StreamWatch> = {}): Promise<Buffer> {
    const path = this.socketPath()
    const parts: Buffer[] = []
    let closed: Promise<unknown> | undefined
    const ready = (): void => {
      const socket = connect(path)
      socket.on('data', (part) => parts.push(part))
      closed = once(socket, 'close')
    }
    try {
      await this.checkpoints.readCheckpoint(id, path, { progress: NOTHING, signal: NEVER, ...watch, ready })
    } finally {
      await closed
      this.received = Buffer.concat(parts)
    }
    return this.received
  }
  /** What came of the last read, whether or not it failed. */
  received = Buffer.alloc(0)

  get figures(): { free: number; checkpoint: number; reserved: number; disk: number } {
    const { freeChunks, objectChunks, heldChunks, reservations } = this.pool
    return {
      free: freeChunks,
      disk: heldChunks - objectChunks,
      checkpoint: objectChunks,
      reserved: reservations.total,
    }
  }
}
