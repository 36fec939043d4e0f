import type { SeededRandom } from '../../../src/base/random.ts'
import type { Disk, DiskMeter } from '../../../src/engine/disk/disk.ts'
import type { LogOptions } from '../../../src/engine/log/log.ts'
import type { OpenedLog } from '../../../src/engine/log/open-log.ts'
import type { LaidReplacement } from '../../../src/engine/replacement/replacement.ts'
import type { Mode } from '../../../src/model/mode.ts'
import type { WriteBackSettings } from '../../../src/model/write-back.ts'
import { DiskModel } from './disk-model.ts'
import type { EngineModules } from './engine-modules.ts'
import { USUAL_MIX, given, type GuestHabits, type RequestKind, type RequestMix } from './habits.ts'
import type { PoolSource } from './pool-source.ts'
import { Died, type Scheduler } from './scheduler.ts'
import { SimulatedOrigin, stampOf, stamped } from './simulated-origin.ts'

export const SECTOR = 512
const SECTORS_PER_PAGE = 8
/** Bytes of the disk's address space; requests stay in a few busy places, so that regions come and go. */
const DISK_BYTES = 80 * 1024 * 1024 + 1536
const DISK_SECTORS = DISK_BYTES / SECTOR
/** Content of a sector that cannot be read. */
const LOST = -2

/** A finding: what is wrong, with the seed that repeats it. */
export class Finding extends Error {
  override readonly name = 'Finding'
}

export interface Range {
  readonly first: number
  readonly count: number
}

/** What became of the engine, or the cache, before a disk is looked at. */
export type Ending = 'close' | 'kill' | 'power-cut'

/** One disk of the cache with its origin and whoever uses it: sends requests, and knows what they may be answered. */
export class Guest {
  readonly origin: SimulatedOrigin
  readonly model = new DiskModel()
  readonly writeBack: WriteBackSettings
  readonly logId: string
  mode: Mode = 'write-through'
  disk: Disk | undefined
  /** Why the engine refuses to serve the disk. */
  refusal: string | undefined
  /** What is wrong. */
  failure: string | undefined
  underWay = 0
  requests = 0
  hits = 0
  /** A device has failed since the disk was opened. */
  deviceFailed = false
  /** Something of the log was changed by hand, pages that were clean too. */
  flips = 0
  readonly #phase: number
  readonly #blockPages: number
  readonly #places: number[]
  readonly #isNarrow: boolean
  /** Its mode stays. */
  readonly #isSteady: boolean
  readonly #mix: RequestMix
  readonly #replacement: string
  readonly #maximumChunks: number
  #meter: DiskMeter = newMeter()
  #epoch = 1
  #nextId = 1
  /** The last session that was used. */
  #session = 0
  /** The log was left because its device failed; all that it has is at the origin. */
  #hasLeftLog = false
  /** The disk was in write-back since it was opened. */
  #wroteBack = false
  /** Sectors whose dirty data is damaged on the device: reads of them may fail. */
  readonly #rotten = new Set<number>()
  /** Sectors that the origin refused: they are behind all others there. */
  readonly #refused = new Set<number>()
  /** Until when a change may have to wait for the origin. */
  #holdsUntil = 0
  /** Until when a change is answered only when the origin has it, unless the mode changes meanwhile. */
  #heldUntil = 0
  /** Where something has just happened: requests meet it more often than by chance. */
  #attention: Range | undefined
  readonly #names = new Set<string>()
  #deadDisk: Disk | undefined
  /** Requests under way that keep others waiting, or need the origin for themselves. */
  exclusive = 0

  constructor(
    readonly name: string,
    index: number,
    readonly chunkBytes: number,
    readonly modules: EngineModules,
    readonly scheduler: Scheduler,
    readonly random: SeededRandom,
    habits: GuestHabits = {},
  ) {
    this.logId = (0xab + index).toString(16).repeat(16)
    const barrier = random.below(6) === 0 ? 'answer' : 'flush'
    this.origin = new SimulatedOrigin(DISK_BYTES, scheduler, random, { durable: barrier === 'answer', modules })
    this.#phase = random.below(2) === 0 ? 0 : random.below(SECTORS_PER_PAGE)
    this.#blockPages = given(habits.blockPages, [1, 1, 2, 16][random.below(4)]!)
    // In some worlds everything meets everything else.
    this.#isNarrow = given(habits.isNarrow, random.below(3) === 0)
    this.#isSteady = given(habits.isSteady, random.below(3) === 0)
    const places = this.#isNarrow ? 1 : 4
    this.#places = Array.from({ length: places }, () => random.below(DISK_BYTES / 4096 - 512) * SECTORS_PER_PAGE)
    if (!this.#isNarrow) this.#places.push(0, DISK_SECTORS - 512)
    this.#maximumChunks = given(habits.maximumChunks, [64, 64, 8, 12][random.below(4)]!)
    const highBytes = chunkBytes * [1, 3, 8, 64][random.below(4)]!
    this.writeBack = {
      order: random.below(6) === 0 ? 'relaxed' : 'ordered',
      barrier,
      dirtyLowBytes: random.below(2) === 0 ? highBytes / 4 : 0,
      dirtyHighBytes: highBytes,
      dirtyAgeSeconds: [0.05, 1, 20][random.below(3)]!,
      ...habits.writeBack,
    }
    this.mode = given(habits.mode, random.below(3) > 0 ? 'write-back' : 'write-through')
    this.#mix = habits.mix ?? USUAL_MIX
    this.#replacement = modules.REPLACEMENT_MODULES[random.below(modules.REPLACEMENT_MODULES.length)]!.name
  }

  // ---------------------------------------------------------------------------------------------------- opening, dying

  /** Opens the disk as an engine does; at the end there is a disk, a refusal or a failure. */
  async open(source: PoolSource, bootId: string): Promise<void> {
    const meter = newMeter()
    this.#meter = meter
    const module = this.modules.REPLACEMENT_MODULES.find(({ name }) => name === this.#replacement)!
    const context = { chunkBytes: this.chunkBytes, bootId }
    const laid = (): { replacement: LaidReplacement; maximumChunks: number } => ({
      replacement: module.laid(this.chunkBytes / 4096),
      maximumChunks: this.#maximumChunks,
    })
    let log: OpenedLog | undefined
    let newLog: () => Promise<OpenedLog>
    try {
      const options: LogOptions = {
        identity: {
          logId: this.logId,
          diskName: this.name,
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
        onFailed: (error) => this.disk?.logFailed(error),
      }
      newLog = async () => {
        const empty = await this.modules.planRecovery([], context)
        const plan = { ...empty, newestSession: this.#session++ }
        return this.modules.openLog(plan, options, { ...laid(), keepPages: false })
      }
      if (source.pool.doubtfulLogs.has(this.logId)) {
        this.refusal = 'a damaged chunk may have been its newest'
        return
      }
      // What others wrote and the origin could still lose must not be cached: nothing marks it as touched.
      await this.origin.flush()
      const found = source.pool
        .claim(this.logId)
        .map((place) => ({ chunk: source.chunkAt(place), header: place.header }))
      const plan = await this.modules.planRecovery(found, context)
      this.#session = Math.max(this.#session, plan.newestSession + 1)
      // It left this log when its origin had everything.
      const isBehind = this.#hasLeftLog && plan.epoch < this.#epoch
      if (plan.isDirtyDamaged && !isBehind) {
        this.refusal = 'its dirty part is damaged'
        return
      }
      const keepPages = plan.epoch === this.#epoch
      if (isBehind || (this.mode === 'pass-through' && plan.dirtyBytes === 0)) {
        for (const { chunk } of [...found].sort((a, b) => a.header.sequence - b.header.sequence)) {
          await this.modules.writeFreeHeader(chunk, source.cacheId, this.scheduler.now())
          source.give(chunk)
        }
        if (this.mode !== 'pass-through') log = await newLog()
      } else log = await this.modules.openLog(plan, options, { ...laid(), keepPages })
    } catch (error) {
      this.#fail('recovery failed', error)
      return
    }
    this.#hasLeftLog = false
    this.#wroteBack = this.mode === 'write-back' || log?.log.isWriteBack === true
    this.disk = new this.modules.Disk({
      name: this.name,
      origin: this.origin,
      readOnly: false,
      mode: this.mode,
      blockPages: this.#blockPages,
      phase: this.#phase,
      sequentialLimitBytes: 64 * 1024,
      reader: new this.modules.LogReader(),
      meter,
      clock: this.scheduler,
      log,
      newLog,
      maximumLogBytes: () => this.#maximumChunks * this.chunkBytes,
      writeBack: () => this.writeBack,
      raiseEpoch: async () => {
        if (this.origin.dead) throw new Died()
        await this.scheduler.delay()
        this.#epoch++
        this.#hasLeftLog = true
      },
      onState: () => undefined,
    })
  }

  /** The process ends: whatever it still asks of the world has no effect. The world drops it then. */
  dying(): void {
    this.#deadDisk = this.disk
    this.disk = undefined
    this.origin.dead = true
    this.origin.drop()
  }

  /** What the dead process waited for never comes: it lets go of its memory, which is that of this process. */
  letGo(): void {
    this.#deadDisk?.logFailed(new Died())
    this.#deadDisk = undefined
  }

  /** The process is gone. */
  died(): void {
    this.origin.dead = false
    this.underWay = 0
    this.exclusive = 0
    this.#names.clear()
    this.failure = undefined
    this.refusal = undefined
    this.deviceFailed = false
    this.#heldUntil = 0
    this.model.crash()
  }

  /** What is under way, for a finding. */
  get waiting(): string {
    return [...this.#names].map((name) => `${this.name}: ${name}`).join('; ')
  }

  /** Whether a change may have to wait for the origin, by request. */
  get isHeld(): boolean {
    return this.scheduler.monotonic() < this.#holdsUntil
  }

  get isWriteBack(): boolean {
    return this.disk?.log?.isWriteBack === true
  }

  #fail(what: string, error: unknown): void {
    if (!(error instanceof Died)) this.failure ??= `${what}: ${(error as Error).stack ?? String(error)}`
  }

  // --------------------------------------------------------------------------------------------------------- requests

  #track(name: string, request: Promise<unknown>, isExclusive = false): void {
    const numbered = `${name} (request ${this.requests++})`
    this.#names.add(numbered)
    this.underWay++
    if (isExclusive) this.exclusive++
    const disk = this.disk
    const ended = (): void => {
      if (this.disk !== disk) return
      this.#names.delete(numbered)
      this.underWay--
      if (isExclusive) this.exclusive--
    }
    request.then(ended, (error: unknown) => {
      if (this.disk !== disk) return
      if (error instanceof Finding) this.failure ??= error.message
      else this.#fail('threw', error)
      ended()
    })
  }

  /** Something has happened there. */
  attend(range: Range): void {
    this.#attention = range
  }

  /** Somewhere in the busy places. */
  anyRange(): Range {
    if (this.#attention !== undefined && this.random.below(8) === 0) {
      const first = Math.max(0, this.#attention.first)
      return { first, count: Math.min(this.#attention.count, DISK_SECTORS - first) }
    }
    const place = this.#places[this.random.below(this.#places.length)]!
    const spread = SECTORS_PER_PAGE * (this.#isNarrow ? [1, 2, 4, 16] : [4, 16, 16, 256])[this.random.below(4)]!
    let first = place + this.random.below(spread)
    let count = [1, 8, 8, 8, 3, 16, 64, 300][this.random.below(8)]!
    if (this.random.below(2) === 0) first -= (first + this.#phase) % SECTORS_PER_PAGE
    first = Math.max(0, Math.min(first, DISK_SECTORS - 1))
    count = Math.min(count, DISK_SECTORS - first)
    return { first, count }
  }

  /** Begins a request of any kind. */
  begin(): void {
    const kind = this.#anyKind()
    const range = this.anyRange()
    const name = `${kind} ${range.first}+${range.count}`
    switch (kind) {
      case 'read':
        return this.#track(name, this.#read(range))
      case 'write':
        return this.#track(name, this.#write(range, this.random.below(8) === 0))
      case 'flush':
        return this.#track(kind, this.#flush())
      case 'zero':
        return this.#track(name, this.#zero(range))
      case 'prefetch':
        return this.#track(name, this.#prefetch(range), true)
      case 'invalidate':
        return this.#track(kind, this.#invalidate(), true)
      case 'allocation':
        return this.#track(name, this.#allocation(range))
      case 'hold':
        return this.#track(kind, this.#hold(), true)
      case 'mode':
        if (!this.#isSteady) this.#track(kind, this.#changeMode(), true)
    }
  }

  #anyKind(): RequestKind {
    const shares = Object.entries(this.#mix) as [RequestKind, number][]
    let at = this.random.below(shares.reduce((sum, [, share]) => sum + share, 0))
    return shares.find(([, share]) => (at -= share) < 0)![0]
  }

  /** A whole page is written and flushed, for whoever wants to see it end. */
  async writeAndFlush(): Promise<void> {
    const page = 1000 + this.random.below(1000)
    const first = page * SECTORS_PER_PAGE - this.#phase
    await this.#write({ first, count: SECTORS_PER_PAGE }, false)
    await this.#flush()
  }

  /** Whether an error is one that the guest has to expect of the sectors. */
  #isExpected(error: unknown, range?: Range): boolean {
    const { message } = error as Error
    if (message.includes('simulated')) return true
    if (range !== undefined && this.#rotten.size > 0 && message.includes('on the cache device'))
      for (let sector = range.first; sector < range.first + range.count; sector++)
        if (this.#rotten.has(sector)) return true
    return this.deviceFailed && this.#wroteBack
  }

  #expect(error: unknown, range?: Range): void {
    if (!this.#isExpected(error, range)) throw error
  }

  async #changeMode(): Promise<void> {
    const modes: Mode[] = ['write-through', 'write-back', 'write-back', 'write-around', 'pass-through']
    const mode = modes[this.random.below(modes.length)]!
    const disk = this.disk!
    this.#heldUntil = 0
    if (mode === 'write-back') this.#wroteBack = true
    try {
      await disk.setMode(mode)
    } catch (error) {
      // An origin that takes nothing keeps the disk in write-back; a lost log, or none to be had, in what it is.
      if (!this.deviceFailed && !/refuses|keep back|leave its log|no chunk/.test((error as Error).message))
        this.#expect(error)
      return
    } finally {
      this.#heldUntil = 0
    }
    if (this.disk === disk) this.mode = mode
  }

  async #hold(): Promise<void> {
    const milliseconds = [10, 100, 5000][this.random.below(3)]!
    const disk = this.disk!
    this.#holdsUntil = Math.max(this.#holdsUntil, this.scheduler.monotonic() + milliseconds)
    if (disk.mode === 'write-back' && this.exclusive === 0)
      this.#heldUntil = Math.max(this.#heldUntil, this.scheduler.monotonic() + milliseconds)
    await disk.hold(milliseconds).catch((error: unknown) => {
      if (!(error as Error).message.includes('refuses')) this.#expect(error)
    })
  }

  async #invalidate(): Promise<void> {
    await this.disk!.invalidate().catch((error: unknown) => {
      if (!(error as Error).message.includes('refuses')) this.#expect(error)
    })
  }

  async #read(range: Range): Promise<void> {
    const { first, count } = range
    const disk = this.disk!
    const target = Buffer.alloc(count * SECTOR + 64)
    const progress = this.model.beginRead(first, count)
    const hit = disk.tryRead(first * SECTOR, count * SECTOR, target, 64)
    if (hit) this.hits++
    else {
      try {
        await disk.read(first * SECTOR, count * SECTOR, target, 64)
      } catch (error) {
        this.#expect(error, range)
        this.model.endRead(progress, [])
        return
      }
    }
    if (this.disk !== disk) return
    const ids = Array.from({ length: count }, (_, index) => stampOf(target, 64 + index * SECTOR))
    const wrong = this.model.endRead(progress, ids)
    if (wrong !== undefined) throw new Finding(`a ${hit ? 'hit' : 'miss'} is wrong: ${wrong}`)
  }

  /** Returns whether it was acknowledged. */
  async #write({ first, count }: Range, fua: boolean): Promise<boolean> {
    const disk = this.disk!
    const id = this.#nextId++
    this.model.beginWrite(first, count, id)
    const data = stamped(count * SECTOR, id)
    const heldUntil = this.#heldUntil
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
      this.#expect(error, { first, count })
      this.model.failWrite(id)
      return false
    }
    if (this.disk !== disk) return false
    this.model.endWrite(first, count, id, fua)
    this.#checkHeld({ first, count }, heldUntil)
    return true
  }

  async #zero({ first, count }: Range): Promise<void> {
    const disk = this.disk!
    const id = -this.#nextId++
    const fua = this.random.below(8) === 0
    this.model.beginWrite(first, count, id)
    const heldUntil = this.#heldUntil
    try {
      if (this.random.below(2) === 0) await disk.trim(first * SECTOR, count * SECTOR, fua)
      else await disk.zero(first * SECTOR, count * SECTOR, { mayTrim: true, fast: false, fua })
    } catch (error) {
      this.#expect(error, { first, count })
      this.model.failWrite(id)
      return
    }
    if (this.disk !== disk) return
    this.model.endWrite(first, count, id, fua)
    this.#checkHeld({ first, count }, heldUntil)
  }

  /** While the disk is held, whatever is answered is at the origin. */
  #checkHeld({ first, count }: Range, heldUntil: number): void {
    if (this.scheduler.monotonic() >= Math.min(heldUntil, this.#heldUntil) || this.deviceFailed) return
    for (let sector = first; sector < first + count; sector++) {
      const content = this.origin.idAt(sector)
      if (this.#refused.has(sector) || this.#rotten.has(sector) || this.model.mayHold(sector, content)) continue
      throw new Finding(`a held disk answered a write of sector ${sector}, of which the origin has ${content}`)
    }
  }

  async #prefetch(range: Range): Promise<void> {
    await this.disk!.prefetch(range.first * SECTOR, range.count * SECTOR).catch((error: unknown) =>
      this.#expect(error, range),
    )
  }

  /** What is said to be zeroes is. */
  async #allocation(range: Range): Promise<void> {
    const { first, count } = range
    const disk = this.disk!
    const progress = this.model.beginRead(first, count)
    const extents = await disk.allocation(first * SECTOR, count * SECTOR).catch((error: unknown) => {
      this.#expect(error)
      return []
    })
    if (this.disk !== disk) return
    let at = 0
    for (const { length, zero } of extents) {
      const end = Math.min(count, at + length / SECTOR)
      for (; at < end; at++) {
        if (zero && !progress.allowed[at]!.has(0))
          throw new Finding(`sector ${first + at} is said to be zeroes, and is not`)
      }
    }
    this.model.endRead(progress, [])
  }

  async #flush(): Promise<void> {
    const disk = this.disk!
    const covered = this.model.beginFlush()
    try {
      await disk.flush()
    } catch (error) {
      this.#expect(error)
      return
    }
    if (this.disk === disk) this.model.endFlush(covered)
  }

  // ------------------------------------------------------------------------------------------------------------ faults

  /** The origin refuses some sectors until it is mended. */
  refuseSome(): void {
    const { first, count } = this.anyRange()
    const length = Math.min(count, 20)
    this.origin.refuse(first, length)
    this.attend({ first, count: length })
    for (let sector = first - SECTORS_PER_PAGE; sector < first + length + SECTORS_PER_PAGE; sector++)
      this.#refused.add(sector)
  }

  /** Whether the origin has, but for what it refuses, all that was acknowledged. */
  isBehindOnlyWhereRefused(): boolean {
    for (const sector of this.model.touched) {
      if (this.#refused.has(sector) || this.#rotten.has(sector)) continue
      if (!this.model.mayHold(sector, this.origin.idAt(sector))) return false
    }
    return true
  }

  /** Nothing is dirty, and the origin refuses nothing: it is in order again. */
  noteClean(): void {
    this.#refused.clear()
  }

  /** Sectors whose dirty data was damaged. */
  noteRot(first: number, count: number): void {
    const end = Math.min(DISK_SECTORS, first + count)
    for (let sector = Math.max(0, first); sector < end; sector++) this.#rotten.add(sector)
  }

  /** A damaged page, in sectors of the disk. */
  sectorsOfPage(page: number): Range {
    const phase = this.disk?.log?.identity.phase ?? this.#phase
    return { first: page * SECTORS_PER_PAGE - phase, count: SECTORS_PER_PAGE }
  }

  // ------------------------------------------------------------------------------------------------------------ checks

  /** D4: why the origin alone is no state in which a power cut could have left the disk. */
  disorderOfOrigin(): string | undefined {
    // Spans that only waited for answers are sent again, from the first that was not flushed, behind a kill: until that is done, in no order.
    if (this.writeBack.order === 'relaxed' || this.writeBack.barrier === 'answer') return undefined
    return this.model.ordered(
      (sector) => this.origin.idAt(sector),
      false,
      (sector) => this.#refused.has(sector) || this.#rotten.has(sector),
    )
  }

  /** All that was not at the origin is lost, by command: the disk is what the origin is. */
  takeOrigin(): void {
    for (const sector of this.model.touched) this.model.giveUp(sector, this.origin.idAt(sector))
    this.#rotten.clear()
    this.#refused.clear()
  }

  /**
   * With nothing under way the disk reads as the model allows, everywhere, and twice the same; without write-back as its origin: what is
   * cached is never stale. A page that cannot be read any more is good again once it was written. Ends with what is wrong.
   * @param inOrder whether what a power cut left must be a prefix of the writes
   */
  async check(when: Ending, inOrder: boolean): Promise<string | undefined> {
    if (this.origin.overlaps > 0) return 'two changes that overlap were at the origin together'
    const contents = new Map<number, number>()
    for (let round = 0; round < 2; round++) {
      for (const range of runsOf(this.model.touched)) {
        const failure = await this.#checkRange(range, contents, when)
        if (failure !== undefined) return failure
      }
      const failure = round === 0 ? this.#settle(contents, when, inOrder) : undefined
      if (failure !== undefined) return failure
    }
    if (this.disk!.state === 'failed') return undefined
    if (this.flips === 0 && this.#meter.badPages > 0)
      return `after a ${when} a page was in the index and not on the device`
    return this.#writeRotten()
  }

  async #checkRange({ first, count }: Range, contents: Map<number, number>, when: Ending): Promise<string | undefined> {
    const disk = this.disk!
    const target = Buffer.alloc(count * SECTOR)
    const hit = disk.tryRead(first * SECTOR, count * SECTOR, target, 0)
    try {
      if (!hit) await disk.read(first * SECTOR, count * SECTOR, target, 0)
    } catch (error) {
      if (!this.#isExpected(error, { first, count })) throw error
      if (count > 1) {
        for (let sector = first; sector < first + count; sector++) {
          const failure = await this.#checkRange({ first: sector, count: 1 }, contents, when)
          if (failure !== undefined) return failure
        }
        return undefined
      }
      contents.set(first, LOST)
      return undefined
    }
    for (let index = 0; index < count; index++) {
      const sector = first + index
      const id = stampOf(target, index * SECTOR)
      const known = contents.get(sector)
      const expected = known ?? (this.isWriteBack ? id : this.origin.idAt(sector))
      contents.set(sector, id)
      if (id === expected || this.#rotten.has(sector)) continue
      const what = known === undefined ? 'the origin has' : 'before it was'
      return `after a ${when} sector ${sector} reads as ${id} (${hit ? 'hit' : 'miss'}), ${what} ${expected}`
    }
    return undefined
  }

  /** What every sector holds is what the model allows, and from now on what it knows. */
  #settle(contents: ReadonlyMap<number, number>, when: Ending, inOrder: boolean): string | undefined {
    const isLost = (sector: number): boolean => contents.get(sector) === LOST || this.#rotten.has(sector)
    const illegal = inOrder ? this.model.ordered((sector) => contents.get(sector)!, true, isLost) : undefined
    if (illegal !== undefined) return `after a ${when} the disk is no prefix of its writes: ${illegal}`
    for (const [sector, content] of contents) {
      if (content === LOST) continue
      const wrong = when === 'close' ? this.model.isAllowed(sector, content) : this.model.settle(sector, content, when)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }

  /** Writes every damaged page anew, and reads it. */
  async #writeRotten(): Promise<string | undefined> {
    if (this.#rotten.size === 0) return undefined
    const phase = this.disk!.log?.identity.phase ?? this.#phase
    const pages = new Set<number>()
    for (const sector of this.#rotten) pages.add(Math.floor((sector + phase) / SECTORS_PER_PAGE))
    for (const sector of this.#rotten) this.model.lose(sector)
    this.#rotten.clear()
    for (const page of pages) {
      const first = Math.max(0, page * SECTORS_PER_PAGE - phase)
      const count = Math.min(DISK_SECTORS, (page + 1) * SECTORS_PER_PAGE - phase) - first
      if (count <= 0) continue
      if (await this.#write({ first, count }, true)) await this.#read({ first, count })
      else this.noteRot(first, count)
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
    relocatedBytes: 0,
    badPages: 0,
    read: () => undefined,
    write: () => undefined,
    flush: () => undefined,
    originRead: () => undefined,
    originWrite: () => undefined,
    barrier: () => undefined,
    originBarriers: () => undefined,
    admitted: () => undefined,
  }
}
