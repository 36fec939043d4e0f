/**
 * The fault model of simulated origins: requests take effect in any order, each at one moment between its call and its answer; one that is
 * under way at a kill took effect or did not, for each of its sectors. A *power cut* keeps what a flush covered; every other sector
 * that changed since has any of its versions, but for an origin that is `durable`, which loses nothing. A *reconnect* is a power cut of the
 * origin alone: the session rises, calls under way go on. On request a write or a read fails (a write that fails took effect for any subset
 * of its sectors), data for some sectors is refused until they are mended, or everything hangs until it goes on.
 *
 * A sector holds a number (the id of the write that put it there), repeated; 0 is zeroes.
 */
import {
  OriginError,
  type AllocationExtent,
  type Origin,
  type OriginDescription,
} from '../../../src/engine/origin/origin.ts'
import type { SeededRandom } from '../../../src/base/random.ts'
import type { EngineModules } from './engine-modules.ts'
import { Died, type Scheduler } from './scheduler.ts'

const SECTOR = 512
const WORDS = SECTOR / 4

/** Sectors filled with the id of a write. */
export function stamped(length: number, id: number): Buffer {
  const words = new Uint32Array(length / 4).fill(id)
  return Buffer.from(words.buffer)
}

/** The id that a sector holds; -1 where it is torn. */
export function stampOf(bytes: Buffer, at: number): number {
  return bytes.compare(bytes, at, at + SECTOR - 4, at + 4, at + SECTOR) === 0 ? bytes.readUInt32LE(at) : -1
}

interface Change {
  readonly first: number
  readonly ids: Uint32Array
}

export class SimulatedOrigin implements Origin {
  readonly description: OriginDescription
  session = 1
  /** Sector -> id, as a read finds it. */
  readonly #sectors = new Map<number, number>()
  readonly #stable = new Map<number, number>()
  /** Versions since the last flush, in order. */
  #unflushed: { readonly change: Change; readonly isChosen: (index: number) => boolean; readonly serial: number }[] = []
  readonly #underWay = new Set<Change>()
  #serial = 0
  /** One write or read in so many fails; 0 for none. */
  failWrites = 0
  failReads = 0
  /** Whoever asks is dead: nothing is answered, and nothing takes effect. */
  dead = false
  /** How often two writes that overlap were under way together, which must never be. */
  overlaps = 0
  /** Sectors that it refuses to write. */
  #refused: { readonly first: number; readonly end: number }[] = []
  #hung: { readonly goOn: () => void; readonly die: () => void }[] | undefined

  /**
   * @param options.durable whether what it has answered survives a power cut without a flush
   * @param options.modules whose error it throws
   */
  constructor(
    readonly sizeBytes: number,
    readonly scheduler: Scheduler,
    readonly random: SeededRandom,
    readonly options: { readonly durable?: boolean; readonly modules?: Pick<EngineModules, 'OriginError'> } = {},
  ) {
    this.description = {
      kind: 'file',
      uri: '/simulated/origin',
      sizeBytes,
      logicalBlockBytes: SECTOR,
      readOnly: false,
      canTrim: true,
      canZero: true,
    }
  }

  idAt(sector: number): number {
    return this.#sectors.get(sector) ?? 0
  }

  // ---------------------------------------------------------------------------------------------------------- requests

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#turn()
    if (this.failReads > 0 && this.random.below(this.failReads) === 0) throw this.#error('read error')
    const words = new Uint32Array(target.length / 4)
    for (let index = 0, first = offset / SECTOR; index * SECTOR < target.length; index++) {
      const id = this.#sectors.get(first + index)
      if (id !== undefined && id !== 0) words.fill(id, index * WORDS, (index + 1) * WORDS)
    }
    target.set(new Uint8Array(words.buffer))
    // The answer is under way while the storage changes.
    await this.scheduler.delay()
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
    const ids = new Uint32Array(data.length / SECTOR)
    for (let index = 0; index < ids.length; index++) ids[index] = stampOf(bytes, index * SECTOR)
    await this.#change({ first: offset / SECTOR, ids }, true)
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#change({ first: offset / SECTOR, ids: new Uint32Array(length / SECTOR) })
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#change({ first: offset / SECTOR, ids: new Uint32Array(length / SECTOR) })
  }

  async #change(change: Change, isData = false): Promise<void> {
    this.#check()
    for (const other of this.#underWay) {
      if (other.first < change.first + change.ids.length && change.first < other.first + other.ids.length)
        this.overlaps++
    }
    this.#underWay.add(change)
    try {
      await this.#turn()
    } finally {
      if (!this.dead) this.#underWay.delete(change)
    }
    const { first, ids } = change
    const end = first + ids.length
    const isRefused = (sector: number): boolean =>
      this.#refused.some((range) => range.first <= sector && sector < range.end)
    if (isData && this.#refused.some((range) => range.first < end && first < range.end)) {
      this.#apply(change, (index) => !isRefused(first + index) && this.random.below(2) === 0)
      throw this.#error('refusal of some sectors')
    }
    if (this.failWrites > 0 && this.random.below(this.failWrites) === 0) {
      this.#apply(change, () => this.random.below(2) === 0)
      throw this.#error('write error')
    }
    this.#apply(change, () => true)
    await this.scheduler.delay()
  }

  #apply(change: Change, chosen: (index: number) => boolean): void {
    const { first, ids } = change
    const isIn = Uint8Array.from(ids, (_, index) => (chosen(index) ? 1 : 0))
    for (let index = 0; index < ids.length; index++) {
      if (isIn[index] === 0) continue
      this.#sectors.set(first + index, ids[index]!)
      if (this.options.durable === true) this.#stable.set(first + index, ids[index]!)
    }
    this.#serial++
    if (this.options.durable !== true)
      this.#unflushed.push({ change, isChosen: (index) => isIn[index] === 1, serial: this.#serial })
  }

  async flush(): Promise<void> {
    this.#check()
    const serial = this.#serial
    const { session } = this
    await this.#turn()
    if (session !== this.session) throw this.#error('end of the session during a flush')
    const kept = []
    for (const each of this.#unflushed) {
      if (each.serial > serial) kept.push(each)
      else
        each.change.ids.forEach((id, index) => each.isChosen(index) && this.#stable.set(each.change.first + index, id))
    }
    this.#unflushed = kept
    await this.scheduler.delay()
  }

  /** Zeroes are holes. */
  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    await this.#turn()
    const extents: { length: number; hole: boolean; zero: boolean }[] = []
    for (let sector = offset / SECTOR; sector < (offset + length) / SECTOR; sector++) {
      const zero = this.idAt(sector) === 0
      const last = extents.at(-1)
      if (last?.zero === zero) last.length += SECTOR
      else extents.push({ length: SECTOR, hole: zero, zero })
    }
    return extents
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  // ------------------------------------------------------------------------------------------------------------- faults

  /** From now on writes of these sectors fail. */
  refuse(first: number, count: number): void {
    this.#refused.push({ first, end: first + count })
  }

  get refuses(): boolean {
    return this.#refused.length > 0
  }

  get isHung(): boolean {
    return this.#hung !== undefined
  }

  /** Nothing is answered until it is mended. */
  hang(): void {
    this.#hung ??= []
  }

  /** Everything works again. */
  mend(): void {
    this.failReads = 0
    this.failWrites = 0
    this.#refused = []
    const hung = this.#hung
    this.#hung = undefined
    for (const { goOn } of hung ?? []) goOn()
  }

  /** The process that asked has died: what hangs is over. */
  drop(): void {
    const hung = this.#hung
    this.#hung = undefined
    for (const { die } of hung ?? []) die()
  }

  kill(): void {
    for (const change of this.#underWay) this.#apply(change, () => this.random.below(2) === 0)
    this.#underWay.clear()
  }

  powerCut(): void {
    this.kill()
    this.#loseUnflushed()
  }

  /** The server behind the origin restarts and loses what it had not flushed. */
  reconnect(): void {
    this.session++
    this.#loseUnflushed()
  }

  #loseUnflushed(): void {
    if (this.options.durable === true) return
    for (const { change, isChosen } of this.#unflushed) {
      change.ids.forEach((id, index) => {
        if (isChosen(index) && this.random.below(2) === 0) this.#stable.set(change.first + index, id)
      })
    }
    this.#unflushed = []
    this.#sectors.clear()
    for (const [sector, id] of this.#stable) this.#sectors.set(sector, id)
  }

  async #turn(): Promise<void> {
    this.#check()
    while (this.#hung !== undefined) {
      const hung = this.#hung
      await new Promise<void>((resolve, reject) => hung.push({ goOn: resolve, die: () => reject(new Died()) }))
    }
    await this.scheduler.delay()
  }

  #check(): void {
    if (this.dead) throw new Died()
  }

  #error(what: string): Error {
    return new (this.options.modules?.OriginError ?? OriginError)(`simulated ${what}`)
  }
}
