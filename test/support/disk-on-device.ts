import type { Clock } from '../../src/base/clock.js'
import type { Device } from '../../src/engine/device/device.js'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import { Disk, type DiskMeter } from '../../src/engine/disk/disk.js'
import type { Chunk, ChunkSource } from '../../src/engine/log/chunk-source.js'
import { LogReader } from '../../src/engine/log/log-reader.js'
import { openLog, type OpenedLog } from '../../src/engine/log/open-log.js'
import { planRecovery } from '../../src/engine/log/recovery.js'
import type { Origin } from '../../src/engine/origin/origin.js'
import { s3Fifo } from '../../src/engine/replacement/s3-fifo.js'
import type { DiskState } from '../../src/protocol/control/documents.js'

const ID = 'ab'.repeat(16)

export interface DiskOnDeviceOptions {
  readonly origin: Origin
  readonly device: Device
  readonly chunkBytes: number
  readonly clock: Clock
  readonly defer: (callback: () => void) => void
  /** Whether the log is one that was there before; its phase is kept. */
  readonly recovered?: boolean
  /** Ends when others know that what this cache holds is not to be used any more; at once where it is not given. */
  readonly raiseEpoch?: () => Promise<void>
}

/** A disk in write-through whose log has all of a device, without pool, thread and server; what it did is counted. */
export class DiskOnDevice {
  disk!: Disk
  reads = 0
  readHits = 0
  admittedBytes = 0
  originReadBytes = 0
  /** The phases of its logs, in sectors, in order. */
  readonly phases: number[] = []
  readonly states: DiskState[] = []
  epoch = 1
  readonly meter: DiskMeter
  readonly #free: Chunk[]
  readonly #source: ChunkSource

  private constructor(readonly options: DiskOnDeviceOptions) {
    const { device, chunkBytes } = options
    const count = Math.floor(device.sizeBytes / chunkBytes)
    this.#free = Array.from({ length: count }, (_, index) => ({
      device,
      deviceIndex: 0,
      index,
      offset: index * chunkBytes,
      generation: 0,
    }))
    const waiters: (() => void)[] = []
    this.#source = {
      cacheId: ID,
      chunkBytes,
      exhausted: false,
      take: () => this.#free.shift(),
      give: (chunk) => {
        this.#free.push(chunk)
        for (const wake of waiters.splice(0)) wake()
      },
      whenChanged: (callback) => void waiters.push(callback),
    }
    this.meter = {
      deviceWrittenBytes: 0,
      deviceReadBytes: 0,
      evictions: 0,
      reinsertions: 0,
      relocatedBytes: 0,
      badPages: 0,
      read: (_bytes, hit) => {
        this.reads++
        if (hit) this.readHits++
      },
      write: () => undefined,
      flush: () => undefined,
      originRead: (bytes) => void (this.originReadBytes += bytes),
      originWrite: () => undefined,
      barrier: () => undefined,
      originBarriers: () => undefined,
      admitted: (bytes) => void (this.admittedBytes += bytes),
    }
  }

  static async open(options: DiskOnDeviceOptions): Promise<DiskOnDevice> {
    const opened = new DiskOnDevice(options)
    const { origin, clock, recovered, raiseEpoch } = options
    const log = await opened.#openLog(0)
    opened.disk = new Disk({
      name: 'disk',
      origin,
      readOnly: false,
      mode: 'write-through',
      blockPages: 1,
      phase: 0,
      sequentialLimitBytes: 2 ** 20,
      maximumLogBytes: () => 1024 * 1024,
      writeBack: () => DEFAULT_WRITE_BACK,
      reader: new LogReader(),
      meter: opened.meter,
      clock,
      log: recovered === true ? { ...log, isNew: false } : log,
      newLog: (phase) => opened.#openLog(phase ?? 0),
      raiseEpoch: () => {
        opened.epoch++
        return raiseEpoch?.() ?? Promise.resolve()
      },
      onState: (state) => void opened.states.push(state),
    })
    return opened
  }

  get freeChunks(): number {
    return this.#free.length
  }

  async #openLog(phase: number): Promise<OpenedLog> {
    const { origin, chunkBytes, clock, defer, device } = this.options
    this.phases.push(phase)
    return openLog(
      await planRecovery([], { chunkBytes, bootId: ID }),
      {
        identity: { logId: ID, diskName: 'disk', origin: '/origin', diskBytes: origin.description.sizeBytes, phase },
        epoch: this.epoch,
        bootId: ID,
        source: this.#source,
        clock,
        counters: this.meter,
        defer,
        onFailed: (error) => this.disk.logFailed(error),
      },
      {
        replacement: s3Fifo.laid(chunkBytes / 4096),
        maximumChunks: Math.floor(device.sizeBytes / chunkBytes),
        keepPages: false,
      },
    )
  }
}
