import type { Clock } from '../../base/clock.js'
import { messageOf } from '../../base/errors.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import type { WriteBackSettings } from '../../model/write-back.js'
import { NOWHERE } from '../index/page-table.js'
import type { Log, SetAside } from '../log/log.js'
import { LogReplay, type ReplayPosition } from '../log/replay.js'
import type { BadPage, Span } from '../log/span.js'
import { dataExtent } from '../log/staged-extent.js'
import { OriginError, type Origin } from '../origin/origin.js'
import { DirtyAges } from './dirty-ages.js'
import type { DirtyLimits } from './dirty-limits.js'
import type { Fills } from './fills.js'
import type { RangeLocks } from './range-locks.js'
import { releaseSpanMemory, spanMemory } from './span-memory.js'

/** Neighbouring pages are written to the origin together, up to this. */
const RUN_BYTES = 1024 * 1024
/** Writes to the origin at once, at the least and the most pressure. */
const LEAST_IN_FLIGHT = 2
const MOST_IN_FLIGHT = 16
/** After a failure of the origin: the first and the longest wait. */
const FIRST_RETRY_MILLISECONDS = 100
const LONGEST_RETRY_MILLISECONDS = 10_000
/** An origin that answers nothing for so long is told of. */
const SILENT_MILLISECONDS = 5000
/** Who wanted nothing for so long is idle. */
const IDLE_MILLISECONDS = 100
/** What the origin refused of a span is tried again so often, page by page, before it is *stuck*; the pauses between begin with the first one and double. */
const TRIES_OF_REFUSED = 3
const FIRST_PAUSE_MILLISECONDS = 50
/** How often what is stuck is tried again. */
const STUCK_RETRY_MILLISECONDS = 30_000
/** With barriers that only wait for answers, the origin is flushed this often. */
const FLUSH_MILLISECONDS = 1000
/** More than these pages lost in one log: the device is not to be trusted with any. */
const MOST_BAD_PAGES = 64
/** A look at the log again while something is on its way into it. */
const APPEND_MILLISECONDS = 2
/** How much a new measurement counts for the speed of the origin. */
const RATE_WEIGHT = 0.3
const FIRST_BYTES_PER_SECOND = 50 * 1024 * 1024

export interface DestageOptions {
  readonly name: string
  readonly log: Log
  readonly origin: Origin
  /** Bytes that are added to a position of the disk before the division into pages. */
  readonly phaseBytes: number
  readonly clock: Clock
  readonly locks: RangeLocks
  readonly fills: Fills
  readonly limits: () => DirtyLimits
  readonly settings: () => Pick<WriteBackSettings, 'order' | 'barrier'>
  /** When a guest last wanted something of the disk (monotonic milliseconds). */
  readonly guestAt: () => number
  readonly written: (bytes: number) => void
  readonly passedBarriers: (count: number) => void
  /** Something is not dirty any more. */
  readonly onSettled: () => void
  /** Why it stands still, or null when it goes on. */
  readonly onTrouble: (reason: string | null) => void
  /** Whether a human wants all that is left of a damaged log. */
  readonly pastDamage?: boolean
  /** It cannot go on: what is dirty is not to be had. */
  readonly onDamage: (error: Error) => void
}

/** What the origin did not take. */
interface Refused {
  readonly start: number
  readonly data: Buffer
  readonly error: Error
}

interface Waiter {
  readonly lsn: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/**
 * Writes what is dirty to the origin, in the background: a replay of the log from `settledLsn` up to the next barrier, the last version of each
 * sector in that span, sorted, written, flushed; then `settledLsn` moves, and that is on record before the next span begins. So the origin
 * is always a state in which a power cut could have left the disk: what is sent twice after a crash is one span, onto itself.
 */
export class Destage {
  readonly #options: DestageOptions
  readonly #ages = new DirtyAges()
  readonly #replay: LogReplay
  /** The span that is on its way, and with `answer` those that wait for a flush. */
  #sending: Span[] = []
  #settled: ReplayPosition
  /** The data of the span that is being sent. */
  #memory: Buffer | undefined
  #flushedAt = 0
  #wake: (() => void) | undefined
  #cancelSleep: (() => void) | undefined
  #starved = false
  #waiters: Waiter[] = []
  #stopped = false
  #isOver = false
  #running: Promise<void>
  #retryMilliseconds = 0
  #isSilent = false
  #stopListening: (() => void) | undefined
  #bytesPerSecond = FIRST_BYTES_PER_SECOND
  /** Pages that are stuck, and when they are tried again. */
  readonly #stuck = new Map<number, number>()
  /** Where the log has stuck pages again. */
  #asides: (SetAside & { readonly page: number })[] = []

  constructor(options: DestageOptions) {
    this.#options = options
    const { log, clock } = options
    this.#replay = LogReplay.at(log, options.pastDamage)
    this.#settled = this.#replay.position
    if (log.dirtyBytes > 0) this.#ages.note(log.settledLsn, clock.monotonic() - options.limits().ageMilliseconds)
    log.onStarved = () => this.hurry()
    this.#running = this.#run()
  }

  /** Places where frames could not be read. */
  get damages(): number {
    return this.#replay.damages
  }

  /** Pages that the origin refuses. */
  get stuckPages(): number {
    return this.#stuck.size
  }

  /** Bytes a second that the origin took lately. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  /** When the oldest of what is dirty was written (monotonic milliseconds). */
  get oldest(): number | undefined {
    return this.#options.log.dirtyBytes > 0 ? this.#ages.oldest : undefined
  }

  /** Told of a write that was staged. */
  noteWrite(): void {
    const { log, clock, limits } = this.#options
    this.#ages.note(log.writtenLsn, clock.monotonic())
    if (this.#wake !== undefined && (this.#cancelSleep === undefined || log.dirtyBytes >= limits().lowBytes))
      this.#stir()
  }

  /** Told that writers wait for what is dirty to become less. */
  hurry(): void {
    this.#starved = true
    this.#stir()
  }

  /** Whether the origin is being sent something of [first, last]: what it answers may be older than that. */
  isSending(first: number, last: number): boolean {
    for (const span of this.#sending) if (span.overlaps(first, last)) return true
    return false
  }

  /** Ends when the origin has, and has flushed, what was written below `lsn`. */
  passed(lsn: number): Promise<void> {
    const { log } = this.#options
    if (log.settledLsn >= lsn) return Promise.resolve()
    if (this.#isOver) return Promise.reject(this.#overError())
    return new Promise((resolve, reject) => {
      this.#waiters.push({ lsn, resolve, reject })
      this.#stir()
    })
  }

  /** Ends when all that was written before is at the origin; rejects, after it was stopped, where it is not. */
  drain(): Promise<void> {
    // What is stuck is tried again at once.
    for (const page of this.#stuck.keys()) this.#stuck.set(page, 0)
    return this.passed(this.#options.log.writtenLsn)
  }

  /** Sends nothing any more once this ends. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#stir()
    await this.#running
  }

  #stir(): void {
    this.#cancelSleep?.()
    this.#cancelSleep = undefined
    this.#wake?.()
    this.#wake = undefined
  }

  /** Ends after so long, or when something is wanted. */
  #sleep(milliseconds: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      if (milliseconds === undefined) return
      this.#cancelSleep = this.#options.clock.after(milliseconds, () => {
        this.#cancelSleep = undefined
        this.#stir()
      })
    })
  }

  async #run(): Promise<void> {
    const { log } = this.#options
    // Whoever made this finishes first.
    await Promise.resolve()
    while (!this.#stopped && log.failure === undefined) {
      const wait = this.#wait()
      if (wait !== 0) {
        this.#rest()
        await this.#sleep(wait)
        continue
      }
      try {
        const isDone = await this.#step()
        if (this.#retryMilliseconds > 0 || this.#isSilent) {
          this.#retryMilliseconds = 0
          this.#isSilent = false
          this.#options.onTrouble(null)
        }
        if (isDone) this.#starved = false
        else await this.#giveWay()
      } catch (error) {
        if (log.failure !== undefined) break
        this.#replay.rewind(this.#settled)
        this.#sending = []
        if (!(error instanceof OriginError)) {
          this.#stopped = true
          this.#options.onDamage(error as Error)
          break
        }
        const doubled = Math.max(FIRST_RETRY_MILLISECONDS, this.#retryMilliseconds * 2)
        this.#retryMilliseconds = Math.min(doubled, LONGEST_RETRY_MILLISECONDS)
        this.#options.onTrouble(`the origin does not take what is dirty: ${messageOf(error)}`)
        await this.#sleep(this.#retryMilliseconds)
      } finally {
        this.#stopListening?.()
      }
    }
    this.#rest()
    this.#sending = []
    this.#isOver = true
    for (const { reject } of this.#waiters.splice(0)) reject(this.#overError())
  }

  /** Gives memory back until there is something to send again. */
  #rest(): void {
    this.#replay.rest()
    if (this.#memory !== undefined) releaseSpanMemory(this.#memory)
    this.#memory = undefined
  }

  #overError(): Error {
    const { log, name } = this.#options
    return log.failure ?? new Error(`the destage of disk ${name} was stopped`)
  }

  /** Milliseconds until there is something to do: 0 now, undefined until something is written. */
  #wait(): number | undefined {
    const { log, clock, limits } = this.#options
    const { dirtyBytes } = log
    if (!log.hasDirty) {
      this.#ages.clear()
      return undefined
    }
    const { lowBytes, ageMilliseconds } = limits()
    const rest = this.#isAllStuck ? this.#nextRetry - clock.monotonic() : 0
    if (rest > 0 && this.#waiters.length === 0) return rest
    if (this.#waiters.length > 0 || this.#starved || dirtyBytes >= lowBytes || this.#sending.length > 0) return 0
    const oldest = this.#ages.oldest
    return oldest === undefined ? 0 : Math.max(0, oldest + ageMilliseconds - clock.monotonic())
  }

  /** Whether nothing is dirty but what the origin refuses: that waits for its turn. */
  get #isAllStuck(): boolean {
    const { log } = this.#options
    if (this.#stuck.size === 0 || log.hasStagedWrites) return false
    return log.dirtyBytes === this.#asides.reduce((sum, { units }) => sum + units, 0) * SECTOR_BYTES
  }

  /** When the first of what was set aside is tried again. */
  get #nextRetry(): number {
    return Math.min(...this.#asides.map(({ page }) => this.#stuck.get(page) ?? 0))
  }

  /** A call to the origin begins, or has ended: should nothing come of it for long, somebody is told. */
  #listen(): void {
    const { clock, onTrouble } = this.#options
    this.#stopListening?.()
    this.#stopListening = clock.after(SILENT_MILLISECONDS, () => {
      this.#isSilent = true
      onTrouble(`the origin has not answered for ${SILENT_MILLISECONDS / 1000} s`)
    })
  }

  get #isGuestIdle(): boolean {
    return this.#options.clock.monotonic() - this.#options.guestAt() > IDLE_MILLISECONDS
  }

  /** Pressure from 0 to 1: how near the dirty limit is. */
  get #pressure(): number {
    const { log, limits } = this.#options
    if (this.#waiters.length > 0 || this.#starved) return 1
    const { lowBytes, highBytes } = limits()
    return Math.min(1, Math.max(0, (log.dirtyBytes - lowBytes) / Math.max(1, highBytes - lowBytes)))
  }

  /** With little pressure a guest that is at work has the origin for itself half of the time. */
  async #giveWay(): Promise<void> {
    const pressure = this.#pressure
    if (pressure > 0.5 || this.#isGuestIdle) return
    await this.#sleep(20 * (1 - pressure))
  }

  /** Sends the next span; returns whether all that is stable has been settled. */
  async #step(): Promise<boolean> {
    const { log, clock, origin, settings, onSettled, passedBarriers } = this.#options
    const { order, barrier } = settings()
    const startedAt = clock.monotonic()
    if (this.#replay.position.lsn >= log.stableLsn && log.writtenLsn > log.stableLsn) await log.commit()
    // What the origin has is on record before it gets more.
    if (this.#sending.length === 0) await log.recordSettled()
    const session = origin.session
    const span = await this.#replay.nextSpan((this.#memory ??= spanMemory()), order === 'relaxed')
    if (this.#stopped) return true
    if (span !== undefined) {
      this.#sending.push(span)
      await this.#send(span)
      this.#options.written(span.sectors * SECTOR_BYTES)
    }
    if (this.#sending.length === 0) {
      // Nothing but copies, or what is on its way into the log.
      await this.#sleep(APPEND_MILLISECONDS)
      return true
    }
    const isBehind = this.#replay.position.lsn < log.stableLsn
    if (barrier === 'answer' && isBehind && startedAt - this.#flushedAt < FLUSH_MILLISECONDS) return false
    this.#listen()
    await origin.flush()
    if (origin.session !== session)
      throw new OriginError(`the origin of disk ${this.#options.name} was reconnected before it had flushed`)
    this.#flushedAt = clock.monotonic()
    const { position } = this.#replay
    const bytes = (position.lsn - this.#settled.lsn) * SECTOR_BYTES
    for (const { bad } of this.#sending) await this.#giveUp(bad)
    // The chunk that has what was set aside may be given back from here on.
    if (this.#asides.some(({ lsn, units }) => lsn + units > log.stableLsn)) await log.commit()
    this.#settled = position
    log.settle(position.lsn, position.offset)
    passedBarriers(this.#sending.length)
    this.#sending = []
    this.#ages.settle(position.lsn)
    this.#asides = this.#asides.filter(({ lsn }) => lsn >= position.lsn)
    if (!log.hasDirty || this.#isAllStuck) {
      // What else was refused is at the origin, or something newer is.
      const pages = new Set(this.#asides.map(({ page }) => page))
      for (const page of this.#stuck.keys()) if (!pages.has(page)) this.#stuck.delete(page)
    }
    const seconds = Math.max(0.001, (clock.monotonic() - startedAt) / 1000)
    this.#bytesPerSecond += (bytes / seconds - this.#bytesPerSecond) * RATE_WEIGHT
    this.#waiters = this.#waiters.filter(({ lsn, resolve }) => {
      if (lsn <= position.lsn) resolve()
      return lsn > position.lsn
    })
    onSettled()
    return position.lsn >= log.writtenLsn || this.#isAllStuck
  }

  async #send(span: Span): Promise<void> {
    const { origin, phaseBytes, fills } = this.#options
    const limit = origin.description.sizeBytes
    for (const { page, count, trim } of span.zeroes) {
      const start = Math.max(0, page * PAGE_BYTES - phaseBytes)
      const end = Math.min(limit, (page + count) * PAGE_BYTES - phaseBytes)
      if (start >= end) continue
      fills.cancel(page, page + count - 1)
      this.#listen()
      await this.#zero(start, end - start, trim)
    }
    let refused: Refused[] = []
    const taken = new Set<number>()
    const write = async (start: number, data: Buffer): Promise<void> => {
      const first = Math.floor(start / PAGE_BYTES)
      const last = Math.floor((start + data.length - 1) / PAGE_BYTES)
      fills.cancel(first, last)
      if (first === last && this.#isStuck(start)) {
        refused.push({ start, data, error: new OriginError('the origin refused it before') })
        return
      }
      try {
        await origin.write(start - phaseBytes, data)
        this.#listen()
        if (this.#stuck.size > 0) for (let page = first; page <= last; page++) taken.add(page)
      } catch (error) {
        refused.push({ start, data, error: error as Error })
      }
    }
    this.#listen()
    const inFlight = new Set<Promise<void>>()
    const pressure = this.#isGuestIdle ? 1 : this.#pressure
    const most = LEAST_IN_FLIGHT + Math.floor((MOST_IN_FLIGHT - LEAST_IN_FLIGHT) * pressure)
    for (const { start, data } of span.runs(RUN_BYTES)) {
      while (inFlight.size >= most) await Promise.race(inFlight)
      const written = write(start, data).finally(() => inFlight.delete(written))
      inFlight.add(written)
    }
    await Promise.all(inFlight)
    for (let tries = 0; tries < TRIES_OF_REFUSED && refused.length > 0; tries++) {
      // An origin that takes nothing at all is waited for.
      if (!(await flushes(origin))) throw refused[0]!.error
      if (tries > 0 && !refused.every(({ start }) => this.#isStuck(start)))
        await this.#sleep(FIRST_PAUSE_MILLISECONDS * 2 ** (tries - 1))
      const again = refused
      refused = []
      // One bad place must not hold its neighbours.
      for (const { start, data } of again) for (const part of pagesOf(start, data)) await write(part.start, part.data)
    }
    // A page that was refused in part is refused.
    const pages = new Map(refused.map(({ start, error }) => [Math.floor(start / PAGE_BYTES), error]))
    for (const page of taken) if (!pages.has(page)) this.#stuck.delete(page)
    if (pages.size > 0 && !(await flushes(origin))) throw refused[0]!.error
    for (const [page, error] of pages) if (!(await this.#setAside(page, span))) throw error
  }

  /** Whether the turn of what was set aside, by a place in it, has not come. */
  #isStuck(start: number): boolean {
    return (this.#stuck.get(Math.floor(start / PAGE_BYTES)) ?? 0) > this.#options.clock.monotonic()
  }

  /** An origin that does not trim or zero a range is given the zeroes themselves. */
  async #zero(start: number, length: number, trim: boolean): Promise<void> {
    const { origin } = this.#options
    try {
      if (trim) await origin.trim(start, length)
      else await origin.zero(start, length, { mayTrim: true, fast: false })
    } catch {
      const zeroes = Buffer.alloc(Math.min(length, RUN_BYTES))
      for (let at = 0; at < length; at += zeroes.length) {
        this.#listen()
        await origin.write(start + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)))
      }
    }
  }

  /**
   * A page that the origin refuses is written into the log again, so that it holds nothing else: it stays dirty, outside the order.
   * Returns false where the log has no room for that now.
   */
  async #setAside(page: number, { end, bad }: Span): Promise<boolean> {
    const { log, clock } = this.#options
    const now = clock.monotonic()
    if ((this.#stuck.get(page) ?? 0) <= now) this.#stuck.set(page, now + STUCK_RETRY_MILLISECONDS)
    const location = log.table.find(page)
    // Something newer is in the log: its turn comes.
    if (location === NOWHERE) return true
    // What it was last is lost, and that will be on record.
    if (bad.some((each) => each.location === location)) return true
    const chunk = log.slots[Math.floor(location / log.entriesPerChunk)]!
    const ordinal = location % log.entriesPerChunk
    const offset = chunk.columns.unit[ordinal]! * SECTOR_BYTES
    if (chunk.sequence > end.sequence || (chunk.sequence === end.sequence && offset >= end.offset)) return true
    const data = await log.readEntry(chunk, ordinal)
    if (data === undefined) return false
    const aside = await log.setAside(page, location, dataExtent(page, 1, chunk.columns.sectorMap[ordinal]!, data))
    if (aside !== undefined && aside.units > 0) this.#asides.push({ ...aside, page })
    return aside !== undefined
  }

  /** Pages that cannot be read back and that nothing newer replaces are lost, and nobody may read what is older. */
  async #giveUp(pages: readonly BadPage[]): Promise<void> {
    const { log, pastDamage } = this.#options
    if (pastDamage !== true && pages.length + log.badPages.size > MOST_BAD_PAGES)
      throw new Error(`${pages.length + log.badPages.size} dirty pages cannot be read back from the cache device`)
    const lost = pages.filter(({ page, location }) => log.table.find(page) === location)
    for (const { page, location } of lost) await log.recordBad(page, location)
    if (lost.length > 0) await log.commit()
  }
}

/** Neighbouring bytes, divided into pages. */
function* pagesOf(start: number, data: Buffer): Generator<{ readonly start: number; readonly data: Buffer }> {
  for (let at = start; at < start + data.length;) {
    const end = Math.min(start + data.length, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES)
    yield { start: at, data: data.subarray(at - start, end - start) }
    at = end
  }
}

function flushes(origin: Origin): Promise<boolean> {
  return origin.flush().then(
    () => true,
    () => false,
  )
}
