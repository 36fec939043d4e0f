import { SeededRandom } from '../../../src/base/random.ts'
import type { Log } from '../../../src/engine/log/log.ts'
import type { LogChunk } from '../../../src/engine/log/log-chunk.ts'
import { CHUNK_HEADER_BYTES } from '../../../src/format/chunk-header.ts'
import { FIRST_CHUNK_OFFSET } from '../../../src/format/superblock.ts'
import type { EngineModules } from './engine-modules.ts'
import { Finding, Guest, SECTOR, type Ending } from './guest.ts'
import { FAULTS, given, type Fault, type WorldHabits } from './habits.ts'
import { PoolSource } from './pool-source.ts'
import { Died, Scheduler } from './scheduler.ts'
import { SimulatedDevice, type DeviceCall } from './simulated-device.ts'

const CHUNK_BYTES = 128 * 1024
/** Steps after which a request that has not ended never will. */
const MAXIMUM_STEPS = 30_000
/** Steps in a row with nothing left to wait for, after which the same holds. */
const MAXIMUM_IDLE_STEPS = 500
/** Requests of one disk under way. */
const MAXIMUM_REQUESTS = 8
/** In a world of short lives there are so many more of them. */
const HASTE = 3
/** How much time may pass at once, in milliseconds. */
const PAUSES = [60, 60, 60, 35_000, 600_000]
/** Steps between looks at something that is dear to look at. */
const STEPS_PER_LOOK = 64

export interface RunReport {
  readonly crashes: number
  readonly requests: number
  readonly hits: number
  readonly findings: readonly string[]
}

/**
 * One cache and the disks that use it through several lives of an engine, each ended by a kill, a power cut or a clean close, with whatever
 * may go wrong meanwhile. All of it follows from the seed.
 */
export class World {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  readonly devices: SimulatedDevice[]
  readonly guests: Guest[]
  #boot = 1
  #formatted = false
  #crashes = 0
  /** A chunk's header is damaged: disks that may have had it are refused. */
  #isHeaderDamaged = false
  #failure: string | undefined
  /** Its lives are short and many. */
  readonly #isHasty: boolean
  readonly #faults: readonly Fault[]
  /** One fault comes with so many requests. */
  readonly #requestsPerFault: number
  /** Recoveries that are cut off, one behind the other, at most. */
  readonly #mostCutOffs: number
  /** No more time passes than it must: what is dirty stays so. */
  readonly #isTimeless: boolean

  readonly #pauses: readonly number[]
  readonly #ending: Ending | undefined

  constructor(
    readonly seed: number,
    readonly modules: EngineModules,
    habits: WorldHabits = {},
  ) {
    this.random = new SeededRandom(seed)
    this.scheduler = new Scheduler(this.random)
    this.#isHasty = given(habits.isHasty, this.random.below(3) === 0)
    const faults = FAULTS.filter(() => this.random.below(2) === 0)
    this.#faults = given(habits.faults, faults.length > 0 ? faults : FAULTS)
    this.#requestsPerFault = given(habits.requestsPerFault, [8, 30, 30, 100][this.random.below(4)]!)
    this.#mostCutOffs = this.random.below(3) === 0 ? 6 : 2
    this.#isTimeless = given(habits.isTimeless, this.random.below(3) === 0)
    this.#pauses = habits.pauses ?? PAUSES
    this.#ending = habits.ending
    this.scheduler.tasksPerSlowOne = given(habits.tasksPerSlowOne, [0, 8, 40][this.random.below(3)]!)
    const block = this.random.below(3) === 0 ? 4096 : 512
    const guests = this.random.below(5) === 0 ? 2 : 1
    const isTight = given(habits.isTight, this.random.below(3) === 0)
    this.devices = Array.from({ length: isTight ? 1 : 1 + this.random.below(2) }, (_, index) => {
      const chunks = 8 * guests + (isTight ? 0 : this.random.below(8))
      return new SimulatedDevice(
        `device${index}`,
        FIRST_CHUNK_OFFSET + chunks * CHUNK_BYTES,
        block,
        this.random.below(2) === 0,
        this.scheduler,
        this.random,
      )
    })
    this.guests = Array.from(
      { length: guests },
      (_, index) => new Guest(`disk${index}`, index, CHUNK_BYTES, modules, this.scheduler, this.random, habits),
    )
  }

  async run(lives: number): Promise<RunReport> {
    const findings: string[] = []
    try {
      const count = this.#isHasty ? HASTE * lives : lives
      for (let life = 0; life < count; life++) await this.#live(life === count - 1)
      if (this.random.below(4) === 0) await this.#rotAtRest()
    } catch (error) {
      if (!(error instanceof Refused))
        findings.push(error instanceof Finding ? error.message : `threw: ${(error as Error).stack ?? String(error)}`)
    }
    await this.#die()
    const sum = (count: (guest: Guest) => number): number => this.guests.reduce((all, guest) => all + count(guest), 0)
    return {
      crashes: this.#crashes,
      requests: sum(({ requests }) => requests),
      hits: sum(({ hits }) => hits),
      findings,
    }
  }

  async #live(last: boolean): Promise<void> {
    await this.#open()
    const requests = this.#isHasty ? 3 + this.random.below(25) : 20 + this.random.below(200)
    const crashAt = last ? Infinity : this.random.below(requests)
    for (let request = 0; request < requests && request < crashAt; request++) {
      if (this.random.below(this.#requestsPerFault) === 0) await this.#fault()
      else {
        const guest = this.guests[this.random.below(this.guests.length)]!
        if (guest.underWay < MAXIMUM_REQUESTS) guest.begin()
      }
      for (let step = this.random.below(6); step > 0; step--) await this.scheduler.step()
      if (this.random.below(12) === 0)
        await this.scheduler.advance(this.#isTimeless ? 10 : this.#pauses[this.random.below(this.#pauses.length)]!)
      this.#heed()
    }
    const end = last ? 0 : this.random.below(10)
    const ending = last ? 'close' : given(this.#ending, end < 2 ? 'close' : end < 6 ? 'kill' : 'power-cut')
    if (ending === 'close') await this.#close(last)
    else await this.#crash(ending)
  }

  // -------------------------------------------------------------------------------------------------------- life times

  async #open(): Promise<void> {
    // A disk that is stuck in a full log may keep the other one from its first chunk.
    if (this.guests.length > 1) this.#mend()
    let opened = false
    await this.#until(
      () => opened,
      this.#openAll().then(() => void (opened = true)),
    )
    for (const { name, refusal } of this.guests)
      if (refusal !== undefined)
        throw this.#isHeaderDamaged ? new Refused() : new Finding(`${name} is refused: ${refusal}`)
  }

  /** Formats the devices the first time, then opens what is there as an engine does. */
  async #openAll(): Promise<void> {
    if (!this.#formatted) {
      const settings = { name: 'cache', blockBytes: 4096, chunkBytes: CHUNK_BYTES, hostId: '0'.repeat(32) }
      await this.modules.formatDevices(this.devices, settings, { random: this.random, clock: this.scheduler })
      this.#formatted = true
    }
    const pool = await this.modules.Pool.open(this.devices, { allowMissing: false })
    const { guests } = this
    const logs = (): Log[] => guests.flatMap(({ disk }) => disk?.log ?? [])
    const opening = (): number =>
      guests.filter(({ disk, refusal }) => disk === undefined && refusal === undefined).length
    const source = new PoolSource(pool, this.scheduler, this.modules, logs, opening)
    const bootId = this.#boot.toString(16).padStart(32, '0')
    await Promise.all(this.guests.map((guest) => guest.open(source, bootId)))
  }

  /** All requests end; then the engine closes the disks, in one of the ways that there are. */
  async #close(last: boolean): Promise<void> {
    this.#unhang()
    await this.#quiesce()
    if (this.devices.some(({ failed, failNext }) => failed !== undefined || failNext !== undefined)) {
      if (!last) return this.#crash('kill')
      await this.#restart('kill')
    }
    for (const guest of this.guests) await this.#goOnBesideRefusals(guest)
    this.#mend()
    await this.#check('close', false)
    // What was stuck is tried again after a while, and taken.
    await this.#until(() => this.guests.every(({ disk }) => disk!.dirty.stuckPages === 0))
    if (last) return
    for (const guest of this.guests) {
      const way = this.random.below(8)
      const discardDirty = way === 0
      const keepLog = way > 1
      const keepDirty = keepLog && way > 4
      let closed = false
      await this.#until(
        () => closed,
        guest.disk!.close({ keepLog, keepDirty, discardDirty }).then(() => void (closed = true)),
      )
      if (discardDirty) {
        this.#checkOrder(guest, 'loss that was asked for')
        guest.takeOrigin()
      } else if (!keepDirty) guest.noteClean()
    }
    await this.#die()
    // Whatever happens to a cache between a clean close and the next opening, it is as it was.
    if (this.random.below(2) === 0) this.#powerCut()
  }

  async #crash(kind: 'kill' | 'power-cut'): Promise<void> {
    this.#crashes++
    await this.#restart(kind)
    // The next life goes on with this engine dead and gone: what it wrote while it was checked is on the devices.
    await this.#quiesce()
    await this.#die()
    this.#kill()
  }

  /** The engine dies, and the machine perhaps; then the disks are there again, as they must be. */
  async #restart(kind: 'kill' | 'power-cut'): Promise<void> {
    const wasWriteBack = this.guests.map((guest) => guest.isWriteBack || guest.disk?.state === 'failed')
    const endings: Ending[] = this.guests.map(() => kind)
    // A device that failed, and that every disk has left, may have lost what it had not synced.
    const isLeft = this.guests.every(({ disk }) => disk?.state === 'failed' || disk?.state === 'direct')
    const lost = this.devices.filter(({ failed }) => failed !== undefined && isLeft && this.random.below(2) === 0)
    if (lost.length > 0)
      this.guests.forEach(({ disk }, index) => {
        if (disk?.state === 'failed') endings[index] = 'power-cut'
      })
    await this.#die()
    for (const device of lost) device.powerCut()
    if (kind === 'kill') this.#kill()
    else this.#powerCut()
    // Sometimes the recovery is cut off as well, and the next one must come to the same.
    for (let again = this.random.below(this.#mostCutOffs + 1); again > 0; again--) {
      void this.#openAll().catch(() => undefined)
      const lastWrite = this.#deviceWrites + (this.random.below(2) === 0 ? this.random.below(10) : Infinity)
      for (let step = this.random.below(400); step > 0 && this.#deviceWrites < lastWrite; step--)
        await this.scheduler.step()
      await this.#die()
      if (kind === 'power-cut' || this.random.below(3) === 0) {
        this.#powerCut()
        kind = 'power-cut'
        endings.fill(kind)
      } else this.#kill()
    }
    for (const guest of this.guests) this.#checkOrder(guest, kind)
    await this.#open()
    await this.#check(endings, wasWriteBack)
  }

  get #deviceWrites(): number {
    return this.devices.reduce((sum, { writes }) => sum + writes, 0)
  }

  /** The process ends: whatever it still asks of the world has no effect. */
  async #die(): Promise<void> {
    for (const guest of this.guests) guest.dying()
    for (const device of this.devices) device.failed = new Died()
    await this.scheduler.drop()
    for (const guest of this.guests) guest.letGo()
    await this.scheduler.drop()
    for (const device of this.devices) device.comeBack()
    for (const guest of this.guests) guest.died()
    this.#failure = undefined
  }

  #kill(): void {
    for (const device of this.devices) device.kill()
    for (const { origin } of this.guests) origin.kill()
  }

  #powerCut(): void {
    this.#boot++
    for (const device of this.devices) device.powerCut()
    for (const { origin } of this.guests) origin.powerCut()
  }

  // ------------------------------------------------------------------------------------------------------------ faults

  async #fault(): Promise<void> {
    const guest = this.guests[this.random.below(this.guests.length)]!
    const { origin } = guest
    switch (this.#faults[this.random.below(this.#faults.length)]!) {
      case 'origin fails writes':
        origin.failWrites = origin.failWrites === 0 ? 10 : 0
        break
      case 'origin fails reads':
        origin.failReads = origin.failReads === 0 ? 10 : 0
        break
      case 'origin reconnects':
        // Only write-back promises that what an origin loses between two sessions is not missed by anybody.
        if (guest.isWriteBack && guest.disk!.mode === 'write-back') origin.reconnect()
        break
      case 'origin refuses':
        guest.refuseSome()
        break
      case 'origin hangs':
        await this.#hang(guest)
        break
      case 'device fails':
        // It ends what can be seen of the log in this life.
        if (this.random.below(3) === 0) this.#failDevice()
        break
      case 'bits rot':
        this.#rot(guest)
    }
  }

  /** An origin answers nothing for a while; who does not need it goes on. */
  async #hang(guest: Guest): Promise<void> {
    const { disk, origin } = guest
    origin.hang()
    const log = disk!.log
    const isRoomy =
      guest.isWriteBack &&
      log!.dirtyBytes < guest.writeBack.dirtyHighBytes! / 2 &&
      this.devices.every(({ failed }) => !failed)
    if (!isRoomy || guest.exclusive > 0 || guest.isHeld || disk!.state !== 'serving' || disk!.mode !== 'write-back')
      return
    if (log!.chunkCount > 4 || this.guests.length > 1 || guest.writeBack.dirtyHighBytes! <= CHUNK_BYTES) return
    let done = false
    await this.#until(
      () => done,
      guest.writeAndFlush().then(() => void (done = true)),
      2000,
    )
    if (this.random.below(2) === 0) origin.mend()
  }

  #failDevice(): void {
    const device = this.devices[this.random.below(this.devices.length)]!
    const calls: (DeviceCall | undefined)[] = ['read', 'write', 'commit', undefined]
    device.failNext = calls[this.random.below(calls.length)]
    if (device.failNext === undefined) device.failed = new Error(`${device.name} has vanished`)
    for (const guest of this.guests) guest.deviceFailed = true
  }

  /**
   * A bit rots in a chunk that was stable long ago. Of a clean one it may cost reads from the origin and nothing else; of a dirty one the page.
   * (In what was written last it may look like the torn end of the log; the tests of recovery have these cases one by one.)
   */
  #rot(guest: Guest): void {
    const { log } = guest.disk!
    if (log === undefined) return
    const isClean = ({ nextLsn }: LogChunk): boolean => !log.isWriteBack || nextLsn <= log.settledLsn
    const sealed = log.chunks.filter((chunk) => chunk.state === 'sealed' && isProven(chunk, log.chunks))
    const dirty = sealed.filter((chunk) => !isClean(chunk))
    const among = dirty.length > 0 && this.random.below(2) === 0 ? dirty : sealed
    const chosen = among[this.random.below(among.length)]
    if (chosen === undefined) return
    const { columns } = chosen
    // What no record says yet is dirty again behind a crash.
    const isSettled = isClean(chosen) && (!log.isWriteBack || isOnRecord(chosen, log.chunks))
    const ordinal = this.random.below(columns.count + 1)
    // A page of data as a rule, anything else of the chunk now and then.
    const isData = ordinal < columns.count && columns.sectorMap[ordinal] !== 0
    if (isData && (this.random.below(8) > 0 || !isSettled)) {
      if (!isSettled) {
        const { first, count } = guest.sectorsOfPage(columns.page[ordinal]!)
        guest.noteRot(first, count)
        guest.attend({ first, count })
      }
      this.#flip(chosen, columns.unit[ordinal]! * SECTOR + this.random.below(SECTOR))
    } else if (isSettled) {
      const at = this.random.below(CHUNK_BYTES)
      this.#isHeaderDamaged ||= at < CHUNK_HEADER_BYTES
      this.#flip(chosen, at)
    } else return
    guest.flips++
  }

  #flip({ chunk }: LogChunk, at: number): void {
    this.devices.find((each) => each === chunk.device)!.flip(chunk.offset + at)
  }

  /** The engine is killed, and then anything rots of what is dirty: the disk is refused, or never serves what is older. */
  async #rotAtRest(): Promise<void> {
    if (this.guests.length > 1) return
    const guest = this.guests[0]!
    await this.#someRequests(guest, 60)
    const log = guest.disk?.log
    if (log?.isWriteBack !== true || log.failure !== undefined) return
    const dirty = log.chunks.filter(
      (chunk) => chunk.state === 'sealed' && chunk.nextLsn > log.settledLsn && isProven(chunk, log.chunks),
    )
    const chosen = dirty[this.random.below(dirty.length)]
    if (chosen === undefined) return
    const { columns } = chosen
    for (let ordinal = 0; ordinal < columns.count; ordinal++) {
      if (!columns.isWrite(ordinal)) continue
      const { first, count } = guest.sectorsOfPage(columns.page[ordinal]!)
      const pages = columns.sectorMap[ordinal] === 0 ? columns.checksum[ordinal]! : 1
      guest.noteRot(first, pages * count)
    }
    await this.#die()
    this.#kill()
    this.#flip(chosen, this.random.below(chosen.writtenOffset))
    guest.flips++
    let opened = false
    await this.#until(
      () => opened,
      this.#openAll().then(() => void (opened = true)),
    )
    if (guest.refusal !== undefined) return
    // A frame that cannot be read back stops the disk when its turn comes: nobody is served anything then.
    guest.deviceFailed = true
    await this.#check('kill', false)
  }

  async #someRequests(guest: Guest, requests: number): Promise<void> {
    for (let request = 0; request < requests; request++) {
      if (guest.underWay < MAXIMUM_REQUESTS) guest.begin()
      for (let step = this.random.below(6); step > 0; step--) await this.scheduler.step()
      this.#heed()
    }
  }

  #unhang(): void {
    for (const { origin } of this.guests) if (origin.isHung) origin.mend()
  }

  /** In a full log there is room for some of what the origin refuses: with more than that it waits until the origin works again. */
  #mendWhereFull(): void {
    for (const { origin, disk } of this.guests)
      if (origin.refuses && disk?.log?.chunks.at(-1)?.reserved === true) origin.mend()
  }

  #mend(): void {
    for (const { origin } of this.guests) origin.mend()
  }

  // ------------------------------------------------------------------------------------------------------------ checks

  /** What the origin refuses does not hold the rest: that becomes clean. */
  async #goOnBesideRefusals(guest: Guest): Promise<void> {
    const { origin, disk } = guest
    if (!origin.refuses || !guest.isWriteBack || disk!.mode !== 'write-back') return
    origin.failWrites = 0
    let looks = 0
    let isDone = false
    await this.#until(() => {
      if (looks++ % STEPS_PER_LOOK === 0) isDone = guest.isBehindOnlyWhereRefused()
      return isDone
    })
  }

  /** D4: should the cache be lost now, the origin is a state in which a power cut could have left the disk. */
  #checkOrder(guest: Guest, after: string): void {
    const disorder = guest.disorderOfOrigin()
    if (disorder !== undefined)
      throw new Finding(`after a ${after} the origin alone is no state of ${guest.name}: ${disorder}`)
  }

  async #check(when: Ending | readonly Ending[], inOrder: boolean | readonly boolean[]): Promise<void> {
    this.#mend()
    for (const [index, guest] of this.guests.entries()) {
      const ending = typeof when === 'string' ? when : when[index]!
      const wasWriteBack = typeof inOrder === 'boolean' ? inOrder : inOrder[index]!
      let done = false
      let failure: string | undefined
      const check = guest.check(ending, wasWriteBack && ending === 'power-cut').then((found) => {
        failure = found
        done = true
      })
      await this.#until(() => done, check)
      if (failure !== undefined) throw new Finding(`${guest.name}: ${failure}`)
    }
  }

  /** Runs the world until `done`; what never ends is a finding. */
  async #until(done: () => boolean, work?: Promise<void>, maximumSteps = MAXIMUM_STEPS): Promise<void> {
    work?.catch((error: unknown) => {
      if (!(error instanceof Died)) this.#failure ??= `threw: ${(error as Error).stack ?? String(error)}`
    })
    let idle = 0
    for (let steps = 0; !done(); steps++) {
      this.#heed()
      if (steps > maximumSteps || idle > MAXIMUM_IDLE_STEPS) {
        const waiting = this.guests.map((guest) => guest.waiting).filter((names) => names !== '')
        throw new Finding(`a request never ends: ${waiting.join('; ') || 'opening, closing or checking'}`)
      }
      if (this.scheduler.idle) {
        idle++
        // A hung origin answers after minutes.
        if (idle > MAXIMUM_IDLE_STEPS / 2) this.#unhang()
        if (steps > maximumSteps / 2) this.#mendWhereFull()
        await this.scheduler.advance(1000)
      } else idle = 0
      await this.scheduler.step()
    }
  }

  #heed(): void {
    const failure = this.#failure ?? this.guests.find((guest) => guest.failure !== undefined)?.failure
    if (failure !== undefined) throw new Finding(failure)
  }

  async #quiesce(): Promise<void> {
    this.#unhang()
    await this.#until(() => this.guests.every(({ underWay }) => underWay === 0))
  }
}

/** A run ends where an engine refuses a disk until a human decides, and is right. */
class Refused extends Error {}

/** Whether recovery can tell that a sealed chunk was stable: two later ones are sealed, and so say all headers behind them. */
function isProven(chunk: LogChunk, chunks: readonly LogChunk[]): boolean {
  return (
    chunks.filter(
      ({ sequence, state, session }) => sequence > chunk.sequence && state === 'sealed' && session >= chunk.session,
    ).length >= 2
  )
}

/** Whether stable storage says that the origin needs nothing of a chunk. */
function isOnRecord({ nextLsn }: LogChunk, chunks: readonly LogChunk[]): boolean {
  return chunks.some(({ state, settledLsn }) => state === 'sealed' && settledLsn >= nextLsn)
}
