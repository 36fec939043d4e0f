/** One log on simulated devices, through kills and power cuts, for tests that look at one rule at a time. */
import { SeededRandom } from '../../../../src/base/random.js'
import { CHUNK_KIND, decodeChunkHeader } from '../../../../src/format/chunk-header.js'
import { EXTENT_KIND } from '../../../../src/format/frame.js'
import { NOWHERE } from '../../../../src/engine/index/page-table.js'
import type { Batch } from '../../../../src/engine/log/batch.js'
import type { Chunk, ChunkSource } from '../../../../src/engine/log/chunk-source.js'
import { LogReader } from '../../../../src/engine/log/log-reader.js'
import type { Log, LogCounters, LogIdentity } from '../../../../src/engine/log/log.js'
import { openLog } from '../../../../src/engine/log/open-log.js'
import { planRecovery, type FoundChunk, type RecoveryPlan } from '../../../../src/engine/log/recovery.js'
import { dataExtent, markExtent } from '../../../../src/engine/log/staged-extent.js'
import type { LaidReplacement } from '../../../../src/engine/replacement/replacement.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'
import { readDevices, type ReadChunk } from './device-reader.js'

export const CHUNK_BYTES = 128 * 1024
export const CACHE_ID = 'cd'.repeat(16)
const PAGE = 4096
const MOST_STEPS = 100_000

export interface TestLogOptions {
  readonly seed?: number
  /** Chunks of each device. */
  readonly devices?: readonly number[]
  readonly logicalBlockBytes?: number
  readonly buffered?: boolean
  readonly replacement?: LaidReplacement
  readonly logId?: string
  readonly diskBytes?: number
}

/** Pages that a reclaim finds are dropped. */
export const FIFO: LaidReplacement = { inserted: () => 0, hit: (heat) => heat, reclaimed: () => -1, resized: () => {} }

class Source implements ChunkSource {
  readonly cacheId = CACHE_ID
  readonly chunkBytes = CHUNK_BYTES
  readonly free: Chunk[] = []
  /** Called before a chunk is handed out. */
  onTake: (chunk: Chunk) => void = () => {}
  #waiters: (() => void)[] = []

  get exhausted(): boolean {
    return this.free.length === 0
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const preferred = this.free.findIndex(({ deviceIndex }) => deviceIndex === preferredDevice)
    const [chunk] = this.free.splice(Math.max(0, preferred), 1)
    if (chunk !== undefined) this.onTake(chunk)
    return chunk
  }

  give(chunk: Chunk): void {
    this.free.push(chunk)
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
  }
}

export class TestLog {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  readonly devices: readonly SimulatedDevice[]
  readonly identity: LogIdentity
  readonly counters: LogCounters = {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    relocatedBytes: 0,
    badPages: 0,
  }
  source = new Source()
  log!: Log
  plan!: RecoveryPlan
  failure: Error | undefined
  epoch = 1
  maximumChunks = 1000
  keepPages = true
  pastDamage = false
  #boot = 1
  #opens = 0

  constructor(readonly options: TestLogOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1)
    this.scheduler = new Scheduler(this.random)
    this.devices = (options.devices ?? [16]).map(
      (chunks, index) =>
        new SimulatedDevice(
          `device${index}`,
          chunks * CHUNK_BYTES,
          options.logicalBlockBytes ?? 512,
          options.buffered ?? true,
          this.scheduler,
          this.random,
        ),
    )
    this.identity = {
      logId: options.logId ?? 'ab'.repeat(16),
      diskName: 'web01/vda',
      origin: '/images/web01.raw',
      diskBytes: options.diskBytes ?? 2 ** 30,
      phase: 0,
    }
  }

  /** A new log on empty devices. */
  static async create(options: TestLogOptions = {}): Promise<TestLog> {
    const test = new TestLog(options)
    await test.open()
    return test
  }

  get bootId(): string {
    return this.#boot.toString(16).padStart(32, '0')
  }

  /** Finds the chunks and recovers the log, up to its commit point; `load` also reads the whole index. */
  async open({ load = true } = {}): Promise<RecoveryPlan> {
    const loadIndex = await this.openUnloaded()
    if (load) await this.run(loadIndex())
    return this.plan
  }

  /** The same; returns what reads the index. */
  async openUnloaded(): Promise<() => Promise<void>> {
    await this.decide()
    const opened = await this.run(
      openLog(
        this.plan,
        {
          identity: this.identity,
          epoch: this.epoch,
          bootId: this.bootId,
          source: this.source,
          clock: this.scheduler,
          counters: this.counters,
          defer: this.scheduler.defer,
          onFailed: (error) => (this.failure ??= error),
        },
        {
          replacement: this.options.replacement ?? FIFO,
          maximumChunks: this.maximumChunks,
          keepPages: this.keepPages,
          pastDamage: this.pastDamage,
        },
      ),
    )
    this.log = opened.log
    this.failure = undefined
    return opened.load
  }

  /** What recovery would decide now; writes nothing. */
  async decide(): Promise<RecoveryPlan> {
    this.source = new Source()
    const found: FoundChunk[] = []
    const generation = ++this.#opens * 2 ** 24
    this.devices.forEach((device, deviceIndex) => {
      for (let index = 0; index < device.sizeBytes / CHUNK_BYTES; index++) {
        const offset = index * CHUNK_BYTES
        const header = decodeChunkHeader(device.bytes, offset)
        const last = Math.max(generation, header?.generation ?? 0)
        const chunk: Chunk = { device, deviceIndex, index, offset, generation: last }
        if (header?.kind === CHUNK_KIND.log && header.logId === this.identity.logId) found.push({ chunk, header })
        else if (header?.kind !== CHUNK_KIND.log) this.source.free.push(chunk)
      }
    })
    return (this.plan = await this.run(
      planRecovery(found, { chunkBytes: CHUNK_BYTES, bootId: this.bootId, pastDamage: this.pastDamage }),
    ))
  }

  /** Runs the world until `work` ends. */
  run<T>(work: Promise<T>): Promise<T> {
    return this.scheduler.run(work)
  }

  /** Runs until nothing is under way. */
  async idle(): Promise<void> {
    for (let steps = 0, quiet = 0; quiet < 20; steps++) {
      if (steps > MOST_STEPS) throw new Error('it is never idle')
      quiet = this.scheduler.idle ? quiet + 1 : 0
      await this.scheduler.step()
    }
  }

  /** Writes pages, all bytes of which are `stamp`, and settles them unless `settle` is false. */
  async write(page: number, stamp: number, { count = 1, settle = true } = {}): Promise<Batch> {
    const batch = this.log.stageWrite(dataExtent(page, count, 0xff, Buffer.alloc(count * PAGE, stamp)))
    batch.join()
    await this.run(batch.written())
    if (settle) batch.settle()
    return batch
  }

  async fill(page: number, stamp: number, count = 1): Promise<void> {
    this.log.stageCopy(dataExtent(page, count, 0xff, Buffer.alloc(count * PAGE, stamp)))
    await this.run(this.log.appended())
  }

  async mark(kind: keyof typeof EXTENT_KIND, page: number, count = 1): Promise<void> {
    this.log.stageMark(markExtent(EXTENT_KIND[kind], page, count))
    await this.run(this.log.appended())
  }

  async commit(): Promise<void> {
    await this.run(this.log.commit())
  }

  /** Fills with pages from `page` on until the log has `chunks` more chunks; returns the page behind the last one. */
  async fillChunks(page: number, stamp: number, chunks: number): Promise<number> {
    const sequence = (): number => this.log.chunks.at(-1)?.sequence ?? 0
    const end = sequence() + chunks
    while (sequence() < end) await this.fill(page++, stamp)
    await this.idle()
    return page
  }

  /** What the cache answers for a page: its stamp, or undefined where the origin is asked. */
  async read(page: number): Promise<number | undefined> {
    const location = this.log.table.find(page)
    if (location === NOWHERE) return undefined
    const chunk = this.log.slots[(location / this.log.entriesPerChunk) | 0]!
    const data = await this.run(this.log.readEntry(chunk, location % this.log.entriesPerChunk))
    if (data === undefined) return undefined
    const target = Buffer.alloc(PAGE)
    if (new LogReader().tryRead(this.log, this.counters, page * PAGE, PAGE, target, 0) && !target.equals(data))
      throw new Error(`two ways to read page ${page}, two answers`)
    return data[0]
  }

  /** The process dies. */
  async kill(): Promise<void> {
    await this.#die()
    for (const device of this.devices) device.kill()
  }

  /** The machine loses its power; what was not committed may be there or not. */
  async powerCut(): Promise<void> {
    await this.#die()
    this.#boot++
    for (const device of this.devices) device.powerCut()
  }

  /** The worst power cut: nothing that was not committed is there. */
  async powerCutLosingAll(): Promise<void> {
    await this.#die()
    this.#boot++
    for (const device of this.devices) device.powerCut(() => false)
  }

  async #die(): Promise<void> {
    for (const device of this.devices) device.failed = new Error('the process is dead')
    await this.scheduler.drop()
    for (const device of this.devices) device.failed = undefined
  }

  /** Every chunk of this log, as the independent reader sees it, oldest first. */
  get onDevice(): ReadChunk[] {
    return readDevices(
      this.devices.map(({ bytes }) => bytes),
      CHUNK_BYTES,
    )
      .filter(({ kind, logId }) => kind === 'log' && logId === this.identity.logId)
      .sort((a, b) => a.session - b.session || a.sequence - b.sequence)
  }

  /** Flips a bit of a chunk, `at` bytes from its start. */
  damage({ device, offset }: { device: number; offset: number }, at: number): void {
    this.devices[device]!.flip(offset + at)
  }
}
