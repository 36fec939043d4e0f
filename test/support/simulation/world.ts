import { SeededRandom } from '../../../src/base/random.ts'
import type { Disk, DiskMeter } from '../../../src/engine/disk/disk.ts'
import type { Chunk, ChunkSource } from '../../../src/engine/log/chunk-source.ts'
import type { ChunkPlace, Pool } from '../../../src/engine/pool/pool.ts'
import type { LaidReplacement } from '../../../src/engine/replacement/replacement.ts'
import { FIRST_CHUNK_OFFSET } from '../../../src/format/superblock.ts'
import type { OpenedLog } from '../../../src/engine/log/open-log.ts'
import type { LogOptions } from '../../../src/engine/log/log.ts'
import type { Mode } from '../../../src/model/mode.ts'
import type { WriteBackSettings } from '../../../src/model/write-back.ts'
import { DiskModel } from './disk-model.ts'
import type { EngineModules } from './engine-modules.ts'
import { Died, Scheduler } from './scheduler.ts'
import { SimulatedDevice } from './simulated-device.ts'
import { SimulatedOrigin, stampOf, stamped } from './simulated-origin.ts'

const SECTOR = 512
const CHUNK_BYTES = 128 * 1024
const LOG_ID = 'ab'.repeat(16)
/** Bytes of the disk's address space; requests stay in a few busy places, so that regions come and go. */
const DISK_BYTES = 80 * 1024 * 1024 + 1536
/** Steps after which a request that has not ended never will. */
const MAXIMUM_STEPS = 30_000
/** Steps in a row with nothing left to wait for, after which the same holds. */
const MAXIMUM_IDLE_STEPS = 500

/** A finding: what is wrong, with the seed that repeats it. */
export class Finding extends Error {
  override readonly name = 'Finding'
}

/** Chunks straight from the pool of a cache, without the main thread in between. */
class Source implements ChunkSource {
  readonly chunkBytes = CHUNK_BYTES
  #waiters: (() => void)[] = []

  constructor(readonly pool: Pool) {}

  get cacheId(): string {
    return this.pool.cacheId
  }

  get exhausted(): boolean {
    return this.pool.freeChunks === 0
  }

  chunkAt({ deviceIndex, index, generation }: ChunkPlace): Chunk {
    const { device, superblock } = this.pool.devices[deviceIndex]!
    return { device, deviceIndex, index, offset: superblock.firstChunkOffset + index * CHUNK_BYTES, generation }
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const place = this.pool.take(preferredDevice)
    return place === undefined ? undefined : this.chunkAt(place)
  }

  give({ deviceIndex, index, generation }: Chunk): void {
    this.pool.give({ deviceIndex, index, generation })
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
  }
}

export interface RunReport {
  readonly crashes: number
  readonly requests: number
  readonly hits: number
  readonly findings: readonly string[]
}

/** One disk with its cache and its origin through several lives, each ended by a kill, a power cut or a clean close. */
export class World {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  readonly devices: SimulatedDevice[]
  readonly origin: SimulatedOrigin
  readonly model = new DiskModel()
  readonly #phase: number
  readonly #blockPages: number
  readonly #places: number[]
  readonly #replacement: string
  #boot = 1
  #formatted = false
  #flips = 0
  #meter: DiskMeter = newMeter()
  #epoch = 1
  #nextId = 1
  #requests = 0
  #hits = 0
  #crashes = 0
  #disk: Disk | undefined
  #underWay = 0
  /** What is under way, for a finding. */
  readonly #names = new Set<string>()
  #failure: string | undefined
  #mode: Mode = 'write-through'
  readonly #writeBack: WriteBackSettings

  constructor(
    readonly seed: number,
    readonly modules: EngineModules,
  ) {
    this.random = new SeededRandom(seed)
    this.scheduler = new Scheduler(this.random)
    const block = this.random.below(3) === 0 ? 4096 : 512
    this.devices = Array.from({ length: 1 + this.random.below(2) }, (_, index) => {
      const chunks = 8 + this.random.below(8)
      return new SimulatedDevice(
        `device${index}`,
        FIRST_CHUNK_OFFSET + chunks * CHUNK_BYTES,
        block,
        this.random.below(2) === 0,
        this.scheduler,
        this.random,
      )
    })
    this.origin = new SimulatedOrigin(DISK_BYTES, this.scheduler, this.random)
    this.#phase = this.random.below(2) === 0 ? 0 : this.random.below(8)
    this.#blockPages = [1, 1, 2, 16][this.random.below(4)]!
    this.#places = Array.from({ length: 4 }, () => this.random.below(DISK_BYTES / 4096 - 512) * 8)
    this.#places.push(0, Math.floor(DISK_BYTES / SECTOR) - 512)
    const highBytes = CHUNK_BYTES * [1, 3, 8, 64][this.random.below(4)]!
    this.#writeBack = {
      order: 'ordered',
      barrier: 'flush',
      dirtyLowBytes: this.random.below(2) === 0 ? highBytes / 4 : 0,
      dirtyHighBytes: highBytes,
      dirtyAgeSeconds: [0.05, 1, 20][this.random.below(3)]!,
    }
    if (this.random.below(2) === 0) this.#mode = 'write-back'
    this.#replacement = modules.REPLACEMENT_MODULES[this.random.below(modules.REPLACEMENT_MODULES.length)]!.name
  }

  async run(lives: number): Promise<RunReport> {
    const findings: string[] = []
    try {
      for (let life = 0; life < lives; life++) await this.#live(life === lives - 1)
    } catch (error) {
      findings.push(error instanceof Finding ? error.message : `threw: ${(error as Error).stack ?? String(error)}`)
    }
    await this.#die()
    return { crashes: this.#crashes, requests: this.#requests, hits: this.#hits, findings }
  }

  async #live(last: boolean): Promise<void> {
    const opened = this.#open()
    await this.#until(() => this.#disk !== undefined || this.#failure !== undefined, opened)
    if (this.#failure !== undefined) throw new Finding(this.#failure)
    const requests = 20 + this.random.below(200)
    const crashAt = last ? Infinity : this.random.below(requests)
    for (let request = 0; request < requests && request < crashAt; request++) {
      if (this.#underWay < 8) this.#begin()
      for (let step = this.random.below(6); step > 0; step--) await this.scheduler.step()
      if (this.random.below(12) === 0) await this.scheduler.advance(this.random.below(3) === 0 ? 35_000 : 60)
      if (this.#failure !== undefined) throw new Finding(this.#failure)
    }
    const end = last ? 0 : this.random.below(10)
    if (end < 2) {
      await this.#quiesce()
      await this.#checkAll('close')
      if (last) return
      let closed = false
      const keepDirty = this.random.below(2) === 0
      await this.#until(
        () => closed,
        this.#disk!.close({ keepLog: true, keepDirty }).then(() => void (closed = true)),
      )
      await this.#die()
      // Whatever happens to a cache between a clean close and the next opening, it is as it was.
      if (this.random.below(2) === 0) this.#powerCut()
    } else if (end < 6) await this.#crash('kill')
    else await this.#crash('power-cut')
  }

  async #crash(kind: 'kill' | 'power-cut'): Promise<void> {
    this.#crashes++
    const inOrder = this.#disk?.log?.isWriteBack === true
    await this.#die()
    if (kind === 'kill') {
      for (const device of this.devices) device.kill()
      this.origin.kill()
    } else this.#powerCut()
    // Sometimes the recovery is cut off as well, and the next one must come to the same.
    for (let again = this.random.below(3); again > 0; again--) {
      void this.#open().catch(() => undefined)
      for (let step = this.random.below(400); step > 0; step--) await this.scheduler.step()
      await this.#die()
      if (kind === 'power-cut' || this.random.below(3) === 0) {
        this.#powerCut()
        kind = 'power-cut'
      } else {
        for (const device of this.devices) device.kill()
        this.origin.kill()
      }
    }
    // D4: should the cache be lost now, the origin is a state in which a power cut could have left the disk.
    const illegal = this.model.ordered((sector) => this.origin.idAt(sector), false)
    if (illegal !== undefined) throw new Finding(`after a ${kind} the origin alone is no state of the disk: ${illegal}`)
    const opened = this.#open()
    await this.#until(() => this.#disk !== undefined || this.#failure !== undefined, opened)
    if (this.#failure !== undefined) throw new Finding(this.#failure)
    await this.#checkAll(kind, inOrder && kind === 'power-cut')
    // The next life goes on with this engine dead and gone: what it wrote while it was checked is on the devices.
    await this.#until(() => this.#underWay === 0)
    await this.#die()
    for (const device of this.devices) device.kill()
    this.origin.kill()
  }

  /** The process ends: whatever it still asks of the world has no effect. */
  async #die(): Promise<void> {
    this.#disk = undefined
    this.origin.dead = true
    for (const device of this.devices) device.failed = new Died()
    await this.scheduler.drop()
    this.origin.dead = false
    for (const device of this.devices) device.failed = undefined
    this.#underWay = 0
    this.#names.clear()
    this.#failure = undefined
    this.model.crash()
  }

  #powerCut(): void {
    this.#boot++
    for (const device of this.devices) device.powerCut()
    this.origin.powerCut()
  }

  /** Formats the devices the first time, then opens what is there as an engine does. */
  async #openPool(): Promise<Source> {
    if (!this.#formatted) {
      const settings = { name: 'cache', blockBytes: 4096, chunkBytes: CHUNK_BYTES, hostId: '0'.repeat(32) }
      await this.modules.formatDevices(this.devices, settings, { random: this.random, clock: this.scheduler })
      this.#formatted = true
    }
    return new Source(await this.modules.Pool.open(this.devices, { allowMissing: false }))
  }

  async #open(): Promise<void> {
    const meter = newMeter()
    this.#meter = meter
    const bootId = this.#boot.toString(16).padStart(32, '0')
    const module = this.modules.REPLACEMENT_MODULES.find(({ name }) => name === this.#replacement)!
    const context = { chunkBytes: CHUNK_BYTES, bootId }
    const laid = (): { replacement: LaidReplacement; maximumChunks: number } => ({
      replacement: module.laid(CHUNK_BYTES / 4096),
      maximumChunks: 64,
    })
    let log: OpenedLog | undefined
    let newLog: () => Promise<OpenedLog>
    try {
      const source = await this.#openPool()
      const options: LogOptions = {
        identity: {
          logId: LOG_ID,
          diskName: 'disk',
          origin: '/simulated/origin',
          diskBytes: DISK_BYTES,
          phase: this.#phase,
        },
        epoch: this.#epoch,
        bootId,
        source,
        clock: this.scheduler,
        counters: meter,
        defer: this.scheduler.defer,
        onFailed: (error) => this.#disk?.logFailed(error),
      }
      newLog = async () =>
        this.modules.openLog(await this.modules.planRecovery([], context), options, { ...laid(), keepPages: false })
      const found = source.pool.claim(LOG_ID).map((place) => ({ chunk: source.chunkAt(place), header: place.header }))
      const plan = await this.modules.planRecovery(found, context)
      if (this.#mode === 'pass-through' && plan.dirtyBytes === 0) {
        for (const { chunk } of found) {
          await this.modules.writeFreeHeader(chunk, source.cacheId, this.scheduler.now())
          source.give(chunk)
        }
      } else {
        log = await this.modules.openLog(plan, options, { ...laid(), keepPages: plan.epoch === this.#epoch })
      }
    } catch (error) {
      this.#fail('recovery failed', error)
      return
    }
    this.#disk = new this.modules.Disk({
      name: 'disk',
      origin: this.origin,
      readOnly: false,
      mode: this.#mode,
      blockPages: this.#blockPages,
      phase: this.#phase,
      sequentialLimitBytes: 64 * 1024,
      reader: new this.modules.LogReader(),
      meter,
      clock: this.scheduler,
      log,
      newLog,
      maximumLogBytes: () => 64 * CHUNK_BYTES,
      writeBack: () => this.#writeBack,
      raiseEpoch: async () => {
        if (this.origin.dead) throw new Died()
        await this.scheduler.delay()
        this.#epoch++
      },
      onState: () => undefined,
    })
  }

  #fail(what: string, error: unknown): void {
    if (!(error instanceof Died)) this.#failure ??= `${what}: ${(error as Error).stack ?? String(error)}`
  }

  /** Runs the world until `done`; a request that never ends is a finding. */
  async #until(done: () => boolean, work?: Promise<void>): Promise<void> {
    work?.catch((error: unknown) => this.#fail('threw', error))
    let idle = 0
    for (let steps = 0; !done(); steps++) {
      if (this.#failure !== undefined) throw new Finding(this.#failure)
      if (steps > MAXIMUM_STEPS || idle > MAXIMUM_IDLE_STEPS) {
        throw new Finding(`a request never ends: ${[...this.#names].join('; ') || 'opening, closing or checking'}`)
      }
      if (this.scheduler.idle) {
        idle++
        await this.scheduler.advance(1000)
      } else idle = 0
      await this.scheduler.step()
    }
  }

  #quiesce(): Promise<void> {
    return this.#until(() => this.#underWay === 0)
  }

  #track(name: string, request: Promise<void>): void {
    this.#requests++
    this.#names.add(name)
    this.#underWay++
    const disk = this.#disk
    const ended = (): void => {
      this.#names.delete(name)
      if (this.#disk === disk) this.#underWay--
    }
    request.then(ended, (error: unknown) => {
      if (this.#disk !== disk) return
      if (error instanceof Finding) this.#failure ??= error.message
      else this.#fail('threw', error)
      ended()
    })
  }

  #range(): { first: number; count: number } {
    const place = this.#places[this.random.below(this.#places.length)]!
    const spread = 8 * [4, 16, 16, 256][this.random.below(4)]!
    let first = place + this.random.below(spread)
    let count = [1, 8, 8, 8, 3, 16, 64, 300][this.random.below(8)]!
    if (this.random.below(2) === 0) first -= first % 8
    const end = DISK_BYTES / SECTOR
    first = Math.min(first, end - 1)
    count = Math.min(count, end - first)
    return { first, count }
  }

  #begin(): void {
    const kind = this.random.below(100)
    const range = this.#range()
    const name = (what: string): string => `${what} ${range.first}+${range.count} (request ${this.#requests})`
    if (kind < 40) this.#track(name('read'), this.#read(range))
    else if (kind < 80) this.#track(name('write'), this.#write(range))
    else if (kind < 88) this.#track(name('flush'), this.#flush())
    else if (kind < 92) this.#track(name('zero'), this.#zero(range))
    else if (kind < 94) this.#track(name('prefetch'), this.#prefetch(range))
    else if (kind < 95) this.#track(name('invalidate'), this.#disk!.invalidate())
    else if (kind < 97) this.#track(name('mode'), this.#changeMode())
    else this.#fault()
  }

  async #changeMode(): Promise<void> {
    const modes: Mode[] = ['write-through', 'write-back', 'write-back', 'write-around', 'pass-through']
    const mode = modes[this.random.below(modes.length)]!
    const disk = this.#disk!
    try {
      await disk.setMode(mode)
    } catch (error) {
      // An origin that takes nothing keeps the disk in write-back.
      if (!/simulated|refuses|keep back/.test((error as Error).message)) throw error
      return
    }
    if (this.#disk === disk) this.#mode = mode
  }

  #fault(): void {
    switch (this.random.below(4)) {
      case 0:
        this.origin.failWrites = this.origin.failWrites === 0 ? 10 : 0
        break
      case 3:
        // Only write-back promises that what an origin loses between two sessions is not missed by anybody.
        if (this.#disk!.log?.isWriteBack === true && this.#disk!.mode === 'write-back') this.origin.reconnect()
        break
      case 1:
        this.origin.failReads = this.origin.failReads === 0 ? 10 : 0
        break
      default: {
        // A rotten bit in a chunk that was stable long ago: it may cost reads from the origin and nothing else. (In what was written last
        // it may look like the torn end of the log; the tests of recovery have these cases one by one.)
        const { log } = this.#disk!
        const isClean = ({ nextLsn }: { nextLsn: number }): boolean => !log!.isWriteBack || nextLsn <= log!.settledLsn
        const sealed = log?.chunks.filter((chunk) => chunk.state === 'sealed' && isClean(chunk)) ?? []
        const chosen = sealed[this.random.below(sealed.length)]
        if (chosen === undefined) return
        const { device, offset } = chosen.chunk
        const { columns } = chosen
        const ordinal = this.random.below(columns.count + 1)
        // A page of data as a rule, anything else of the chunk now and then.
        const isData = ordinal < columns.count && columns.sectorMap[ordinal] !== 0 && this.random.below(8) > 0
        const at = isData ? columns.unit[ordinal]! * SECTOR + this.random.below(SECTOR) : this.random.below(CHUNK_BYTES)
        this.devices.find((each) => each === device)!.flip(offset + at)
        this.#flips++
      }
    }
  }

  async #read({ first, count }: { first: number; count: number }): Promise<void> {
    const disk = this.#disk!
    const target = Buffer.alloc(count * SECTOR + 64)
    const progress = this.model.beginRead(first, count)
    const hit = disk.tryRead(first * SECTOR, count * SECTOR, target, 64)
    if (hit) this.#hits++
    else {
      try {
        await disk.read(first * SECTOR, count * SECTOR, target, 64)
      } catch (error) {
        if ((error as Error).message.includes('simulated')) {
          this.model.endRead(progress, [])
          return
        }
        throw error
      }
    }
    if (this.#disk !== disk) return
    const ids = Array.from({ length: count }, (_, index) => stampOf(target, 64 + index * SECTOR))
    const wrong = this.model.endRead(progress, ids)
    if (wrong !== undefined) throw new Finding(`a ${hit ? 'hit' : 'miss'} is wrong: ${wrong}`)
  }

  async #write({ first, count }: { first: number; count: number }): Promise<void> {
    const disk = this.#disk!
    const id = this.#nextId++
    const fua = this.random.below(8) === 0
    this.model.beginWrite(first, count, id)
    const data = stamped(count * SECTOR, id)
    try {
      let begun = false
      if (!fua) {
        const written = new Promise<void>((resolve, reject) => {
          const done = (error: Error | undefined): void => (error === undefined ? resolve() : reject(error))
          begun = disk.tryWrite(first * SECTOR, data, done)
        })
        if (begun) await written
      }
      if (!begun) await disk.write(first * SECTOR, data, fua)
    } catch (error) {
      if (!(error as Error).message.includes('simulated')) throw error
      this.model.failWrite(id)
      return
    }
    if (this.#disk === disk) this.model.endWrite(first, count, id, fua)
  }

  async #zero({ first, count }: { first: number; count: number }): Promise<void> {
    const disk = this.#disk!
    const id = -this.#nextId++
    this.model.beginWrite(first, count, id)
    try {
      if (this.random.below(2) === 0) await disk.trim(first * SECTOR, count * SECTOR, false)
      else await disk.zero(first * SECTOR, count * SECTOR, { mayTrim: true, fast: false, fua: false })
    } catch (error) {
      if (!(error as Error).message.includes('simulated')) throw error
      this.model.failWrite(id)
      return
    }
    if (this.#disk === disk) this.model.endWrite(first, count, id)
  }

  async #prefetch({ first, count }: { first: number; count: number }): Promise<void> {
    await this.#disk!.prefetch(first * SECTOR, count * SECTOR).catch((error: unknown) => {
      if (!(error as Error).message.includes('simulated')) throw error
    })
  }

  async #flush(): Promise<void> {
    const disk = this.#disk!
    const covered = this.model.beginFlush()
    await disk.flush()
    if (this.#disk === disk) this.model.endFlush(covered)
  }

  /**
   * With nothing under way the disk reads as the model allows, everywhere, and twice the same; without write-back as its origin: what is cached is
   * never stale. @param inOrder whether what a power cut left must be a prefix of the writes
   */
  async #checkAll(when: 'close' | 'kill' | 'power-cut', inOrder = false): Promise<void> {
    this.origin.failReads = 0
    this.origin.failWrites = 0
    if (this.origin.overlaps > 0) throw new Finding('two changes that overlap were at the origin together')
    const disk = this.#disk!
    let failure: string | undefined
    const contents = new Map<number, number>()
    const check = async (): Promise<void> => {
      for (let round = 0; round < 2; round++) {
        for (const { first, count } of runsOf(this.model.touched)) {
          const target = Buffer.alloc(count * SECTOR)
          const hit = disk.tryRead(first * SECTOR, count * SECTOR, target, 0)
          if (!hit) await disk.read(first * SECTOR, count * SECTOR, target, 0)
          for (let index = 0; index < count; index++) {
            const sector = first + index
            const id = stampOf(target, index * SECTOR)
            const isWriteBack = disk.log?.isWriteBack === true
            const known = contents.get(sector)
            const expected = known ?? (isWriteBack ? id : this.origin.idAt(sector))
            contents.set(sector, id)
            if (id === expected) continue
            const what = known === undefined ? 'the origin has' : 'before it was'
            failure ??= `after a ${when} sector ${sector} reads as ${id} (${hit ? 'hit' : 'miss'}), ${what} ${expected}`
            return
          }
        }
        if (round === 0) failure ??= this.#settle(contents, when, inOrder)
        if (failure !== undefined) return
      }
    }
    let done = false
    await this.#until(
      () => done,
      check().then(() => void (done = true)),
    )
    if (failure !== undefined) throw new Finding(failure)
    if (this.#flips === 0 && this.#meter.badPages > 0) {
      throw new Finding(`after a ${when} a page was in the index and not on the device`)
    }
  }

  /** What every sector holds is what the model allows, and from now on what it knows. */
  #settle(
    contents: ReadonlyMap<number, number>,
    when: 'close' | 'kill' | 'power-cut',
    inOrder: boolean,
  ): string | undefined {
    const illegal = inOrder ? this.model.ordered((sector) => contents.get(sector)!, true) : undefined
    if (illegal !== undefined) return `after a ${when} the disk is no prefix of its writes: ${illegal}`
    for (const [sector, content] of contents) {
      const wrong = when === 'close' ? this.model.isAllowed(sector, content) : this.model.settle(sector, content, when)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }
}

/** Sectors as runs of at most 64. */
function runsOf(sectors: readonly number[]): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = []
  for (const sector of [...sectors].sort((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === sector && last.count < 64) last.count++
    else runs.push({ first: sector, count: 1 })
  }
  return runs
}

function newMeter(): DiskMeter {
  return {
    deviceWrittenBytes: 0,
    deviceReadBytes: 0,
    evictions: 0,
    reinsertions: 0,
    badPages: 0,
    read: () => undefined,
    write: () => undefined,
    flush: () => undefined,
    originRead: () => undefined,
    originWrite: () => undefined,
    admitted: () => undefined,
  }
}
