import type { Clock } from '../../base/clock.js'
import { VmcacheError, messageOf } from '../../base/errors.js'
import { EXTENT_KIND } from '../../format/frame.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { Mode } from '../../model/mode.js'
import type { WriteBackSettings } from '../../model/write-back.js'
import type { DiskState } from '../../protocol/control/documents.js'
import type { Written } from '../log/batch.js'
import type { LogReader } from '../log/log-reader.js'
import type { Log, LogCounters } from '../log/log.js'
import type { OpenedLog } from '../log/open-log.js'
import { markExtent } from '../log/staged-extent.js'
import { OriginError, type AllocationExtent, type Origin } from '../origin/origin.js'
import { allocationOf } from './allocation.js'
import { dirtyLimitsOf } from './dirty-limits.js'
import { Fills } from './fills.js'
import { Gate } from './gate.js'
import { MODE_PATHS } from './modes/modes.js'
import type { ModePath } from './modes/mode-path.js'
import { OriginFlusher } from './origin-flusher.js'
import { PageSpace } from './page-space.js'
import { RangeLocks } from './range-locks.js'
import { Reads } from './reads.js'
import { RequestExtents } from './request-extents.js'
import { DiskError, type ServedDisk } from './served-disk.js'
import { StoredPages } from './stored-pages.js'
import { Streams } from './streams.js'
import { ThroughPath, type ThroughChange } from './through-path.js'
import { TouchMarks } from './touch-marks.js'
import { TrafficPhase } from './traffic-phase.js'
import { WriteBackPath, type DirtyStatus } from './write-back-path.js'

/** How long after the last write `settledLsn` is written down, if no other frame does it. */
const MARK_MILLISECONDS = 50
/** How long after the last write the log is committed: what is stable can be told from a torn end, should a bit of it rot. */
const COMMIT_MILLISECONDS = 1000
/** A sequential stream longer than this is not cached. */
export const DEFAULT_SEQUENTIAL_LIMIT_BYTES = 1024 * 1024
/** What a prefetch reads from the origin at once. */
const PREFETCH_BYTES = 1024 * 1024
/** How often an end of write-back looks for what came meanwhile, before it says what stands in its way. */
const DRAIN_ROUNDS = 4

const CLEAN: DirtyStatus = {
  dirtyBytes: 0,
  dirtyAgeSeconds: 0,
  secondsToFlush: 0,
  stuckPages: 0,
  lostPages: 0,
}

/** What a disk counts; latencies in microseconds. */
export interface DiskMeter extends LogCounters {
  read(bytes: number, hit: boolean, microseconds: number): void
  write(bytes: number, hit: boolean, microseconds: number): void
  flush(microseconds: number): void
  originRead(bytes: number): void
  originWrite(bytes: number): void
  /** A flush or FUA write that made something stable in the log. */
  barrier(): void
  /** Barriers that the origin has passed. */
  originBarriers(count: number): void
  /** Bytes that a guest wrote into the cache or a miss filled. */
  admitted(bytes: number): void
}

export interface DiskOptions {
  readonly name: string
  readonly origin: Origin
  readonly readOnly: boolean
  readonly mode: Mode
  /** Pages that a miss brings in at once. */
  readonly blockPages: number
  /** Sectors that are added before the division into pages. */
  readonly phase: number
  readonly sequentialLimitBytes: number
  readonly reader: LogReader
  readonly meter: DiskMeter
  readonly clock: Clock
  /** The log, recovered up to its commit point; undefined where the mode has none. */
  readonly log: OpenedLog | undefined
  /** Why it begins without the log that its mode wants, in state `direct`. */
  readonly withoutLog?: string
  /** Makes a new, empty log, for a change of mode, after the log was lost, or with another phase that the traffic asks for. */
  readonly newLog: (phase?: number) => Promise<OpenedLog>
  /** Most bytes that its log may hold now. */
  readonly maximumLogBytes: () => number
  readonly writeBack: () => WriteBackSettings
  /**
   * Raises the epoch in stamp and state database, so that a log that misses writes is never believed again. Resolves before the
   * first request that goes past the log.
   */
  readonly raiseEpoch: () => Promise<void>
  readonly onState: (state: DiskState, reason: string | null) => void
}

/** One virtual disk: its requests go through its log to its origin. */
export class Disk implements ServedDisk {
  readonly #options: DiskOptions
  readonly #origin: Origin
  readonly #space: PageSpace
  readonly #extents: RequestExtents
  readonly #reads: Reads
  readonly #through: ThroughPath
  readonly #flusher: OriginFlusher
  readonly #marks: TouchMarks
  readonly #locks = new RangeLocks()
  readonly #fills = new Fills()
  readonly #readStreams = new Streams()
  readonly #writeStreams = new Streams()
  /** All requests but those of {@link tryRead}, which never wait. */
  readonly #gate = new Gate()
  readonly #stored: StoredPages
  #log: Log | undefined
  #lostLog: Log | undefined
  #path: ModePath
  /** While the log is in write-back. */
  #writeBack: WriteBackPath | undefined
  /** What the first requests to a new log say of its phase. */
  #traffic: TrafficPhase | undefined
  #state: DiskState = 'serving'
  #reason: string | null = null
  #leavingLog: Promise<void> | undefined
  /** For so long the origin is kept current (monotonic milliseconds). */
  #heldUntil = 0
  #markTimer: (() => void) | undefined
  #commitTimer: (() => void) | undefined
  #closed = false
  /** Ends when it has taken up the mode that it was made for, or has said why not. */
  readonly ready: Promise<void> = Promise.resolve()

  constructor(options: DiskOptions) {
    this.#options = options
    const { name, origin, clock, meter } = options
    this.#origin = origin
    this.#space = new PageSpace(origin.description.sizeBytes, options.phase)
    const [space, locks, fills] = [this.#space, this.#locks, this.#fills]
    const currentLog = (): Log | undefined => this.#log
    const stored = new StoredPages(name, currentLog, (error) => void this.#logLost(error))
    this.#stored = stored
    this.#extents = new RequestExtents(space, stored)
    this.#flusher = new OriginFlusher(name, origin, space, stored, locks)
    this.#marks = new TouchMarks(clock, locks, currentLog, () => this.#flusher.flushUnheard())
    this.#reads = new Reads({
      name,
      origin,
      space,
      stored,
      fills,
      locks,
      blockPages: options.blockPages,
      currentLog,
      isSending: (first, last) => this.#writeBack?.destage.isSending(first, last) ?? false,
      isInDoubt: () => this.#flusher.isInDoubt,
      sendAgain: () => this.#flusher.flushUnheard(),
      originRead: (bytes) => meter.originRead(bytes),
      admitted: (bytes) => meter.admitted(bytes),
    })
    this.#through = new ThroughPath({
      origin,
      space,
      locks,
      fills,
      marks: this.#marks,
      flusher: this.#flusher,
      currentLog,
      leavingLog: () => this.#leavingLog,
      logLost: (error) => this.#logLost(error),
      originWrite: (bytes) => meter.originWrite(bytes),
      released: () => this.#markLater(),
    })
    this.#path = MODE_PATHS[options.mode]
    if (options.withoutLog !== undefined) {
      this.#path = MODE_PATHS['pass-through']
      this.#state = 'direct'
      this.#reason = options.withoutLog
    }
    if (options.log !== undefined) this.#useLog(options.log)
    // A log says by itself whether it is in write-back; what is wanted is taken up before the first request, or when nothing is dirty any more.
    const isWriteBack = this.#log?.isWriteBack === true
    if (this.#log === undefined || isWriteBack === this.#writesBack(this.#path)) return
    const wanted = this.#path
    this.#path = MODE_PATHS[isWriteBack ? 'write-back' : 'write-through']
    const taken = this.setMode(wanted.mode).catch((error: unknown) => this.#trouble(messageOf(error)))
    // What is dirty goes to the origin behind the traffic.
    if (!isWriteBack) this.ready = taken
  }

  get name(): string {
    return this.#options.name
  }
  get sizeBytes(): number {
    return this.#origin.description.sizeBytes
  }
  get readOnly(): boolean {
    return this.#options.readOnly || this.#origin.description.readOnly
  }
  get minimumBlockBytes(): number {
    return this.#origin.description.logicalBlockBytes
  }
  get preferredBlockBytes(): number {
    return PAGE_BYTES
  }
  get canTrim(): boolean {
    return this.#origin.description.canTrim
  }
  get canZero(): boolean {
    return this.#origin.description.canZero
  }
  get log(): Log | undefined {
    return this.#log
  }
  /** The one that it left last: what it has is not believed, but may be all that there is of what was dirty. */
  get lostLog(): Log | undefined {
    return this.#lostLog
  }
  get mode(): Mode {
    return this.#path.mode
  }
  get state(): DiskState {
    return this.#state
  }
  get reason(): string | null {
    return this.#reason
  }
  get dirty(): DirtyStatus {
    return this.#writeBack?.status ?? CLEAN
  }

  // ---------------------------------------------------------------------------------------------------------- reading

  tryRead(offset: number, length: number, target: Buffer, at: number): boolean {
    const log = this.#log
    if (log === undefined || this.#closed) return false
    const { reader, meter, clock } = this.#options
    const startedAt = clock.monotonic()
    try {
      if (!reader.tryRead(log, meter, offset + this.#space.phaseBytes, length, target, at)) return false
    } catch (error) {
      void this.#logLost(error)
      return false
    }
    meter.read(length, true, (clock.monotonic() - startedAt) * 1000)
    return true
  }

  async read(offset: number, length: number, target: Buffer, at: number): Promise<void> {
    this.#checkOpen()
    const { meter, clock, sequentialLimitBytes } = this.#options
    const startedAt = clock.monotonic()
    const waiting = this.#gate.enter()
    if (waiting !== undefined) await waiting
    try {
      this.#checkOpen()
      const streamed = this.#readStreams.note(offset, length)
      const bypass = streamed > sequentialLimitBytes
      if (!bypass) this.#noteTraffic(offset, length)
      const missed = await this.#reads.read(offset, length, target, at, !bypass && this.#path.logs)
      // Where the log was lost meanwhile, with something that the origin lacks, its answer is no answer.
      this.#checkOpen()
      if (missed && streamed > length) this.#reads.readAhead.begin(offset + length)
      meter.read(length, !missed, (clock.monotonic() - startedAt) * 1000)
    } finally {
      this.#gate.leave()
    }
  }

  async prefetch(offset: number, length: number): Promise<void> {
    for (let at = offset; at < offset + length; at += PREFETCH_BYTES) {
      const piece = Math.min(PREFETCH_BYTES, offset + length - at)
      await this.#inside(() => this.#reads.read(at, piece, Buffer.allocUnsafe(piece), 0, this.#path.logs))
      await this.#log?.appended().catch(() => undefined)
    }
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#inside(async () => {
      for (;;) {
        const before = this.#log?.settledLsn
        const extents = await this.#origin.allocation(offset, length)
        this.#checkOpen()
        const log = this.#log
        if (log?.isWriteBack !== true) return extents
        // What went to the origin after it was asked may not be in the log any more.
        if (log.settledLsn === before) return allocationOf(extents, offset, length, this.#space, log)
      }
    })
  }

  // --------------------------------------------------------------------------------------------------------- changing

  tryWrite(offset: number, data: Buffer, written: Written): boolean {
    if (this.#closed || this.#state === 'failed' || this.readOnly || !this.#gate.tryEnter()) return false
    const { meter, clock, sequentialLimitBytes } = this.#options
    const startedAt = clock.monotonic()
    const isHit = this.#stored.sectorsOf(this.#space.firstPage(offset)) !== 0
    const isStreamed = this.#writeStreams.bytesBefore(offset) + data.length > sequentialLimitBytes
    const done = (error: Error | undefined): void => {
      this.#gate.leave()
      if (error !== undefined && this.#isLeavingLog(error)) {
        this.write(offset, data, false).then(() => written(undefined), written)
        return
      }
      if (error === undefined) {
        if (this.#path.recordsData(isStreamed)) meter.admitted(data.length)
        meter.write(data.length, isHit, (clock.monotonic() - startedAt) * 1000)
      }
      written(error)
    }
    const writeBack = this.#writeBack
    const begun =
      writeBack === undefined
        ? this.#through.tryChange(this.#writeChange(offset, data, isStreamed), done)
        : writeBack.tryWrite(offset, data, done)
    if (!begun) {
      this.#gate.leave()
      return false
    }
    this.#writeStreams.note(offset, data.length)
    if (!isStreamed) this.#noteTraffic(offset, data.length)
    if (writeBack !== undefined) {
      writeBack.noteGuest()
      this.#markLater()
    }
    return true
  }

  async write(offset: number, data: Buffer, fua: boolean): Promise<void> {
    const { meter, clock, sequentialLimitBytes } = this.#options
    const startedAt = clock.monotonic()
    const isHit = this.#stored.sectorsOf(this.#space.firstPage(offset)) !== 0
    const isStreamed = this.#writeStreams.note(offset, data.length) > sequentialLimitBytes
    await this.#change(async () => {
      if (!isStreamed) this.#noteTraffic(offset, data.length)
      if (this.#writeBack !== undefined) return this.#writeBack.write(offset, data, fua)
      await this.#through.change(this.#writeChange(offset, data, isStreamed))
      if (fua) await this.#flusher.flush()
    })
    if (this.#path.recordsData(isStreamed)) meter.admitted(data.length)
    meter.write(data.length, isHit, (clock.monotonic() - startedAt) * 1000)
  }

  #writeChange(offset: number, data: Buffer, isStreamed: boolean): ThroughChange {
    return {
      kind: 'write',
      offset,
      length: data.length,
      record: () => this.#path.record(this.#extents, offset, data, isStreamed),
      send: () => this.#origin.write(offset, data),
    }
  }

  trim(offset: number, length: number, fua: boolean): Promise<void> {
    return this.#mark('trim', offset, length, fua, () => this.#origin.trim(offset, length))
  }

  zero(offset: number, length: number, options: { mayTrim: boolean; fast: boolean; fua: boolean }): Promise<void> {
    return this.#mark('zero', offset, length, options.fua, () => this.#origin.zero(offset, length, options))
  }

  #mark(kind: 'zero' | 'trim', offset: number, length: number, fua: boolean, send: () => Promise<void>): Promise<void> {
    return this.#change(async () => {
      if (this.#writeBack !== undefined) return this.#writeBack.zero(kind, offset, length, fua)
      const record = () => this.#extents.marks(EXTENT_KIND[kind], offset, length)
      await this.#through.change({ kind, offset, length, record, send })
      if (fua) await this.#flusher.flush()
    })
  }

  async #change(change: () => Promise<void>): Promise<void> {
    if (this.readOnly) throw new DiskError('EPERM', `disk ${this.name} is read-only`)
    await this.#inside(() => this.#onceMore(change))
    this.#markLater()
  }

  /** A request that the log of write-back failed under goes on directly, where nothing that was answered is lost with the log. */
  async #onceMore(request: () => Promise<void>): Promise<void> {
    try {
      await request()
    } catch (error) {
      if (!this.#isLeavingLog(error)) throw error
      await this.#leavingLog
      this.#checkOpen()
      await request()
    }
  }

  /** Whether a request failed because the disk leaves its log. */
  #isLeavingLog(error: unknown): boolean {
    const isOthers = error instanceof DiskError || error instanceof OriginError
    return !isOthers && !this.#closed && (this.#log === undefined || this.#log.failure !== undefined)
  }

  /** One request, between other requests, not beside those that need the disk for themselves. */
  async #inside<R>(request: () => Promise<R>): Promise<R> {
    this.#checkOpen()
    const waiting = this.#gate.enter()
    if (waiting !== undefined) await waiting
    try {
      this.#checkOpen()
      this.#writeBack?.noteGuest()
      return await request()
    } finally {
      this.#gate.leave()
    }
  }

  async flush(): Promise<void> {
    const startedAt = this.#options.clock.monotonic()
    await this.#inside(() => this.#onceMore(() => this.#writeBack?.flush() ?? this.#flusher.flush()))
    this.#options.meter.flush((this.#options.clock.monotonic() - startedAt) * 1000)
  }

  /** After it the origin has, and has flushed, all that was acknowledged before. */
  async flushOrigin(): Promise<void> {
    const writeBack = this.#writeBack
    if (writeBack === undefined) return this.flush()
    this.#checkOpen()
    await writeBack.destage.drain().catch((error: unknown) => {
      // Whoever ends write-back does the same.
      if (this.#writeBack === writeBack || this.#state === 'failed') throw error
    })
    if (this.#writeBack === writeBack) this.#refuseStuck(writeBack)
  }

  /** For so long a change is answered only when the origin has it, so that the origin stays current for whoever reads it there. */
  async hold(milliseconds: number): Promise<void> {
    this.#heldUntil = Math.max(this.#heldUntil, this.#options.clock.monotonic() + milliseconds)
    this.#keepHeld()
    await this.flushOrigin()
  }

  /** A disk stays held whatever becomes of its log meanwhile. */
  #keepHeld(): void {
    const writeBack = this.#writeBack
    const { clock } = this.#options
    const milliseconds = this.#heldUntil - clock.monotonic()
    if (writeBack === undefined || milliseconds <= 0) return
    writeBack.beginDraining()
    clock.after(milliseconds, () => {
      if (this.#writeBack !== writeBack || this.#state === 'draining' || clock.monotonic() < this.#heldUntil) return
      writeBack.endDraining()
    })
  }

  #markLater(): void {
    if (this.#log === undefined || this.#closed) return
    this.#markTimer ??= this.#options.clock.after(MARK_MILLISECONDS, () => {
      this.#markTimer = undefined
      this.#log?.mark()
    })
    this.#commitTimer ??= this.#options.clock.after(COMMIT_MILLISECONDS, () => {
      this.#commitTimer = undefined
      const log = this.#log
      // A log that fails says so itself.
      log?.appended().then(
        () => log.commit().catch(() => undefined),
        () => undefined,
      )
    })
  }

  // -------------------------------------------------------------------------------------------------- log and life time

  #useLog(opened: OpenedLog): void {
    const { log } = opened
    this.#log = log
    const { phase } = log.identity
    this.#space.phaseBytes = phase * SECTOR_BYTES
    this.#traffic = opened.isNew ? new TrafficPhase(phase) : undefined
    this.#marks.resume(log)
    if (log.isWriteBack) this.#beginWriteBack(log)
    this.#setState('recovering', null)
    void opened.load().then(
      () => {
        if (this.#state === 'recovering') this.#setState('serving', null)
      },
      (error: unknown) => void this.#logLost(error),
    )
  }

  #writesBack(path: ModePath): boolean {
    return path.writesBack && !this.readOnly
  }

  #beginWriteBack(log: Log): void {
    const { name, origin, clock, meter, maximumLogBytes, writeBack } = this.#options
    this.#writeBack = new WriteBackPath({
      name,
      log,
      origin,
      space: this.#space,
      extents: this.#extents,
      locks: this.#locks,
      fills: this.#fills,
      clock,
      limits: () => dirtyLimitsOf(writeBack(), maximumLogBytes()),
      settings: writeBack,
      meter,
      onTrouble: (reason) => this.#trouble(reason),
      onDamage: (error) => void this.#logLost(error),
    })
    this.#keepHeld()
  }

  /** Says why something stands still while requests go on. */
  #trouble(reason: string | null): void {
    if (this.#state !== 'direct' && this.#state !== 'failed') this.#setState(this.#state, reason)
  }

  /** From now on the log is enough for an answer. The gate is shut. */
  async #enterWriteBack(log: Log): Promise<void> {
    await this.#flusher.flushUnheard()
    await log.appended()
    await this.#marks.takeBackAll(log)
    await log.setWriteBack(true)
    this.#beginWriteBack(log)
  }

  /** The same for a disk that had left it for a moment; where that fails it writes through, and says why. */
  async #reenterWriteBack(log: Log): Promise<void> {
    try {
      await this.#enterWriteBack(log)
    } catch (error) {
      if (log.failure !== undefined) throw error
      this.#path = MODE_PATHS['write-through']
      this.#trouble(messageOf(error))
    }
  }

  /** Writes all that is dirty to the origin; nothing is dirty any more when this ends. The gate is shut. */
  async #leaveWriteBack(): Promise<void> {
    const [log, writeBack] = [this.#log, this.#writeBack]
    if (log === undefined || writeBack === undefined) return
    await this.#drainAll(log, writeBack)
    await writeBack.stop()
    // From here on others may write the origin: a log that took itself for dirty after a kill or a power cut would write over that.
    await log.recordSettled()
    await log.setWriteBack(false)
    this.#writeBack = undefined
  }

  async #drainAll(log: Log, writeBack: WriteBackPath): Promise<void> {
    await log.appended()
    for (let round = 0; log.dirtyBytes > 0 && round < DRAIN_ROUNDS; round++) await writeBack.destage.drain()
    this.#refuseStuck(writeBack)
  }

  #refuseStuck({ destage }: WriteBackPath): void {
    if (destage.stuckPages === 0) return
    throw new OriginError(`the origin of disk ${this.name} refuses ${destage.stuckPages} dirty pages`)
  }

  /** The log's device failed: what it has is never believed again, and the disk goes on without it, unless the origin lacks something. */
  #logLost(error: unknown): Promise<void> {
    if (this.#leavingLog !== undefined) return this.#leavingLog
    const log = this.#log
    if (log === undefined) return Promise.resolve()
    const writeBack = this.#writeBack
    // What was not written was not answered.
    const lostBytes = log.isWriteBack ? (log.writtenLsn - log.settledLsn) * SECTOR_BYTES : 0
    const lostPages = log.badPages.size
    this.#log = undefined
    this.#lostLog = log
    this.#writeBack = undefined
    this.#marks.clear()
    log.abandon()
    const reason = `the cache device failed: ${messageOf(error)}`
    void writeBack?.stop()
    if (lostBytes > 0 || lostPages > 0) {
      const what = lostBytes > 0 ? `${lostBytes} bytes that the origin lacks are there` : ''
      // Of these the origin has what is older, and without the log nobody would know.
      const before = lostPages > 0 ? `${lostPages} pages were lost there before the origin had them` : ''
      this.#setState('failed', [reason, what, before].filter((part) => part !== '').join('; '))
      this.#leavingLog = Promise.reject(new DiskError('EIO', `disk ${this.name}: ${this.#reason}`))
      this.#leavingLog.catch(() => undefined)
      return this.#leavingLog
    }
    this.#path = MODE_PATHS['pass-through']
    this.#leavingLog = this.#options.raiseEpoch().then(
      () => {
        this.#leavingLog = undefined
        this.#setState('direct', reason)
      },
      (failure: unknown) => {
        this.#setState('failed', `${reason}; the epoch could not be raised: ${messageOf(failure)}`)
        throw new DiskError('EIO', `disk ${this.name}: ${this.#reason}`)
      },
    )
    this.#leavingLog.catch(() => undefined)
    return this.#leavingLog
  }

  /** Told by the log when its device failed outside of a request. */
  logFailed(error: Error): void {
    if (!this.#closed) void this.#logLost(error)
  }

  /**
   * Changes the mode while requests go on. Out of write-back the disk *drains* first: a change is answered when the origin has it, until nothing is
   * dirty. A mode without log gives the log back first, so that nothing in it can be found later. WRONG_STATE for a disk that lost its log;
   * OriginError where the origin does not take what is dirty, or `signal` ends the wait: then the mode stays as it was.
   */
  async setMode(mode: Mode, signal?: AbortSignal): Promise<void> {
    const path = MODE_PATHS[mode]
    this.#refuseLost()
    const isDraining = !this.#writesBack(path)
    if (isDraining && this.#writeBack !== undefined) await this.#drainFirst(this.#writeBack, signal)
    await this.#gate.shut()
    try {
      // A log that was lost is left for good when the epoch is raised.
      await this.#leavingLog?.catch(() => undefined)
      this.#refuseLost()
      if (isDraining) await this.#leaveWriteBack()
      const log = this.#log
      if (path.logs && log === undefined) {
        // What the origin could still lose must not be cached: nothing would mark it as touched.
        await this.#flusher.flush()
        this.#useLog(await this.#options.newLog())
      } else if (!path.logs && log !== undefined) {
        this.#refuseToForget(log)
        await this.#giveBack(log)
      }
      if (this.#writesBack(path) && this.#log !== undefined && !this.#log.isWriteBack)
        await this.#enterWriteBack(this.#log)
      this.#path = path
      if (this.#state === 'draining') this.#setState('serving', null)
    } catch (error) {
      const isOut = this.#log?.failure === undefined && this.#log?.isWriteBack === false
      if (isOut && this.#writesBack(this.#path)) await this.#reenterWriteBack(this.#log!)
      // It was made for a mode that was not reached.
      if (isOut && !this.#path.logs) await this.#giveBack(this.#log!).catch(() => undefined)
      if (this.#writeBack !== undefined) this.#stopDraining(this.#writeBack)
      throw error
    } finally {
      this.#gate.open()
    }
  }

  /** Gives the log back, so that nothing in it can be found later; where the device fails in that, the log is lost instead. */
  async #giveBack(log: Log): Promise<void> {
    this.#log = undefined
    this.#marks.clear()
    try {
      await log.destroy()
    } catch (error) {
      this.#log ??= log
      await this.#logLost(error)
      throw error
    }
  }

  /** Only the log knows which pages were lost: without it older ones would be read from the origin. */
  #refuseToForget({ badPages }: Log): void {
    if (badPages.size === 0) return
    throw new VmcacheError(
      'WRONG_STATE',
      `disk ${this.name} cannot leave its log: ${badPages.size} pages were lost on the cache device before the origin had them`,
      { hint: 'write them anew, or detach the disk, which gives them up' },
    )
  }

  #refuseLost(): void {
    if (this.#state !== 'direct' && this.#state !== 'failed') return
    throw new VmcacheError('WRONG_STATE', `disk ${this.name} cannot change its mode: ${this.#reason}`, {
      hint: 'detach it and attach it to a cache that works',
    })
  }

  async #drainFirst(writeBack: WriteBackPath, signal: AbortSignal | undefined): Promise<void> {
    writeBack.beginDraining()
    this.#setState('draining', null)
    try {
      await endedBy(signal, writeBack.destage.drain())
      this.#refuseStuck(writeBack)
    } catch (error) {
      // Another change of mode was first.
      if (this.#writeBack !== writeBack) return
      this.#stopDraining(writeBack)
      throw error
    }
  }

  #stopDraining(writeBack: WriteBackPath): void {
    if (this.#writeBack !== writeBack) return
    if (this.#options.clock.monotonic() >= this.#heldUntil) writeBack.endDraining()
    if (this.#state === 'draining') this.#setState('serving', null)
  }

  /** Notes a request to a new log, until they say which phase serves them best. */
  #noteTraffic(offset: number, length: number): void {
    if (this.#traffic?.note(offset, length) !== true) return
    const { wanted } = this.#traffic
    this.#traffic = undefined
    if (wanted * SECTOR_BYTES !== this.#space.phaseBytes) void this.#takeUpPhase(wanted)
  }

  /** Begins the log anew with the phase that its traffic asks for; once, so that it never goes to and fro. */
  async #takeUpPhase(phase: number): Promise<void> {
    // Not at the price of a pause: most of what is dirty goes to the origin while requests go on.
    await this.#writeBack?.destage.drain().catch(() => undefined)
    await this.#gate.shut()
    const log = this.#log
    try {
      if (log === undefined || this.#closed) return
      try {
        await this.#leaveWriteBack()
        // What the origin could still lose must not be cached: nothing would mark it as touched.
        await this.#flusher.flushUnheard()
      } catch {
        const isOut = this.#log === log && this.#writeBack === undefined
        if (isOut && this.#writesBack(this.#path)) await this.#reenterWriteBack(log)
        return
      }
      if (this.#log !== log) return
      if (log.badPages.size > 0) {
        if (this.#writesBack(this.#path)) await this.#reenterWriteBack(log)
        return
      }
      await this.#giveBack(log)
      const opened = await this.#options.newLog(phase)
      // What is read ahead knows its pages by the old phase.
      this.#reads.readAhead.clear()
      this.#fills.cancel(0, Infinity)
      this.#useLog({ ...opened, isNew: false })
      if (this.#writesBack(this.#path)) await this.#reenterWriteBack(opened.log)
    } catch (error) {
      if (this.#state === 'direct' || this.#state === 'failed') return
      this.#log ??= log
      void this.#logLost(error)
    } finally {
      this.#gate.open()
    }
  }

  /** Leaves state `direct`: goes on in `mode` with a new log, while requests go on. Where that fails it stays as it is. */
  async resumeLog(mode: Mode): Promise<void> {
    const path = MODE_PATHS[mode]
    await this.#gate.shut()
    try {
      if (this.#state !== 'direct') return
      await this.#flusher.flushUnheard()
      const opened = path.logs ? await this.#options.newLog() : undefined
      this.#path = path
      if (opened === undefined) return this.#setState('serving', null)
      this.#useLog(opened)
      if (this.#writesBack(path)) await this.#reenterWriteBack(opened.log)
    } finally {
      this.#gate.open()
    }
  }

  /** Forgets every cached page, in the log too, after what is dirty went to the origin. */
  async invalidate(): Promise<void> {
    await this.#writeBack?.destage.drain().catch(() => undefined)
    await this.#gate.shut()
    try {
      const log = this.#log
      if (log === undefined) return
      const wasWriteBack = this.#writeBack !== undefined
      await this.#leaveWriteBack()
      this.#reads.readAhead.clear()
      this.#fills.cancel(0, Infinity)
      const lost = [...log.badPages]
      log.stageMark(markExtent(EXTENT_KIND.invalid, 0, 0xffff_ffff))
      // What the origin has of these is older than what was lost.
      for (const page of lost) log.stageMark(markExtent(EXTENT_KIND.bad, page, 1))
      try {
        await log.appended()
        await log.commit()
        if (wasWriteBack) await this.#reenterWriteBack(log)
      } catch (error) {
        // A log that was left meanwhile has no pages either.
        if (this.#log === log) throw error
      }
    } finally {
      this.#gate.open()
    }
  }

  /**
   * Ends service: changes under way end, the origin is flushed, the log is closed cleanly or, without `keepLog`, given back. A flush that
   * fails leaves the disk serving. With `keepDirty` what the origin lacks stays in the log, on stable storage; with `discardDirty` it is lost.
   */
  async close(options: { keepLog: boolean; keepDirty?: boolean; discardDirty?: boolean }): Promise<void> {
    const keepsDirty = options.keepDirty === true && options.keepLog
    if (!keepsDirty && options.discardDirty !== true) await this.#writeBack?.destage.drain()
    await this.#gate.shut()
    try {
      const [log, writeBack] = [this.#log, this.#writeBack]
      if (writeBack !== undefined && log !== undefined) {
        if (!keepsDirty && options.discardDirty !== true) await this.#drainAll(log, writeBack)
        await writeBack.stop()
      }
      // Also where this engine wrote nothing: an engine before it may have, and marks of touched regions are taken back now.
      else if (!this.readOnly) await this.#flusher.flush()
      this.#closed = true
      this.#markTimer?.()
      this.#commitTimer?.()
      this.#marks.close()
      this.#reads.readAhead.clear()
      if (log === undefined || log.failure !== undefined) return
      if (!options.keepLog) await log.destroy()
      else if (log.dirtyBytes > 0) await log.closeDirty()
      else await log.close()
    } finally {
      this.#gate.open()
    }
  }

  #setState(state: DiskState, reason: string | null): void {
    if (this.#state === state && this.#reason === reason) return
    this.#state = state
    this.#reason = reason
    this.#options.onState(state, reason)
  }

  #checkOpen(): void {
    if (this.#closed) throw new DiskError('ESHUTDOWN', `disk ${this.name} is being detached`)
    if (this.#state === 'failed') throw new DiskError('EIO', `disk ${this.name}: ${this.#reason}`)
  }
}

/** Ends with `work`, or rejects when `signal` is raised before. */
export function endedBy(signal: AbortSignal | undefined, work: Promise<void>): Promise<void> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    const abort = (): void =>
      reject(new VmcacheError('INTERRUPTED', 'it was cancelled before the origin had everything'))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
