/**
 * The fault model of simulated origins: requests take effect in any order, each at one moment between its call and its answer; one that is
 * under way at a kill took effect or did not, for each of its sectors. A *power cut* keeps what a flush covered; every other sector
 * that changed since has any of its versions. A *reconnect* is a power cut of the origin alone: the session rises, calls under way go on.
 * On request a write or a read fails; a write that fails took effect for any subset of its sectors.
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
import { Died, type Scheduler } from './scheduler.ts'

const SECTOR = 512

/** Sectors filled with the id of a write. */
export function stamped(length: number, id: number): Buffer {
  const word = Buffer.alloc(4)
  word.writeUInt32LE(id)
  return Buffer.alloc(length, word)
}

/** The id that a sector holds; -1 where it is torn. */
export function stampOf(bytes: Buffer, at: number): number {
  return bytes.compare(bytes, at, at + SECTOR - 4, at + 4, at + SECTOR) === 0 ? bytes.readUInt32LE(at) : -1
}

export class SimulatedOrigin implements Origin {
  readonly description: OriginDescription
  session = 1
  /** Sector -> id, as a read finds it. */
  readonly sectors = new Map<number, number>()
  readonly #stable = new Map<number, number>()
  /** Versions since the last flush, in order. */
  #unflushed: { sector: number; id: number; serial: number }[] = []
  #underWay = new Set<{ offset: number; ids: number[] }>()
  #serial = 0
  /** One write or read in so many fails; 0 for none. */
  failWrites = 0
  failReads = 0
  reads = 0
  /** Whoever asks is dead: nothing is answered, and nothing takes effect. */
  dead = false
  /** How often two writes that overlap were under way together, which must never be. */
  overlaps = 0

  constructor(
    readonly sizeBytes: number,
    readonly scheduler: Scheduler,
    readonly random: SeededRandom,
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
    return this.sectors.get(sector) ?? 0
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#check()
    await this.scheduler.delay()
    this.reads++
    if (this.failReads > 0 && this.random.below(this.failReads) === 0) throw new OriginError('simulated read error')
    for (let at = 0; at < target.length; at += SECTOR) {
      const id = this.idAt((offset + at) / SECTOR)
      if (id === 0) target.fill(0, at, at + SECTOR)
      else target.set(stamped(SECTOR, id), at)
    }
    // The answer is under way while the storage changes.
    await this.scheduler.delay()
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
    const ids: number[] = []
    for (let at = 0; at < bytes.length; at += SECTOR) ids.push(stampOf(bytes, at))
    await this.#change(offset, ids)
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#change(
      offset,
      Array.from({ length: length / SECTOR }, () => 0),
    )
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#change(
      offset,
      Array.from({ length: length / SECTOR }, () => 0),
    )
  }

  async #change(offset: number, ids: number[]): Promise<void> {
    this.#check()
    const change = { offset, ids }
    for (const other of this.#underWay) {
      if (other.offset < offset + ids.length * SECTOR && offset < other.offset + other.ids.length * SECTOR)
        this.overlaps++
    }
    this.#underWay.add(change)
    await this.scheduler.delay()
    this.#underWay.delete(change)
    if (this.failWrites > 0 && this.random.below(this.failWrites) === 0) {
      this.#apply(change, () => this.random.below(2) === 0)
      throw new OriginError('simulated write error')
    }
    this.#apply(change, () => true)
    await this.scheduler.delay()
  }

  #apply({ offset, ids }: { offset: number; ids: number[] }, chosen: () => boolean): void {
    this.#serial++
    ids.forEach((id, index) => {
      if (!chosen()) return
      const sector = offset / SECTOR + index
      this.sectors.set(sector, id)
      this.#unflushed.push({ sector, id, serial: this.#serial })
    })
  }

  async flush(): Promise<void> {
    this.#check()
    const serial = this.#serial
    const { session } = this
    await this.scheduler.delay()
    if (session !== this.session) throw new OriginError('the session ended during a flush')
    for (const { sector, id } of this.#unflushed.filter((each) => each.serial <= serial)) this.#stable.set(sector, id)
    this.#unflushed = this.#unflushed.filter((each) => each.serial > serial)
    await this.scheduler.delay()
  }

  allocation(_offset: number, length: number): Promise<AllocationExtent[]> {
    return Promise.resolve([{ length, hole: false, zero: false }])
  }

  close(): Promise<void> {
    return Promise.resolve()
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

  /** Somebody else writes, while nobody of ours looks. */
  tamper(sector: number, id: number): void {
    this.sectors.set(sector, id)
    this.#stable.set(sector, id)
  }

  #check(): void {
    if (this.dead) throw new Died()
  }

  #loseUnflushed(): void {
    for (const { sector, id } of this.#unflushed) if (this.random.below(2) === 0) this.#stable.set(sector, id)
    this.#unflushed = []
    this.sectors.clear()
    for (const [sector, id] of this.#stable) this.sectors.set(sector, id)
  }
}
