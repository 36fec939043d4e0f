/**
 * The fault model of simulated cache devices:
 *
 * - A write that has returned is seen by every later read, and survives a *kill* of the process. A write under way at a kill is there for any
 *   subset of its sectors.
 * - A *power cut* keeps what a commit covered whose promise was resolved. Every other written sector is there or not, each for
 *   itself, in any combination: lost, reordered and torn writes. Of a sector written several times since, any of the versions may be there.
 * - Sectors of 512 bytes are written whole.
 * - On request a stored bit is flipped, reads or writes fail, or a commit fails.
 *
 * A `buffered` device answers writes at once and most reads inline; one that is not answers everything later, in any order.
 */
import type { ByteRange, Device } from '../../../src/engine/device/device.ts'
import type { SeededRandom } from '../../../src/base/random.ts'
import type { Scheduler } from './scheduler.ts'

const SECTOR = 512

interface PendingSector {
  readonly sector: number
  readonly bytes: Buffer
  readonly serial: number
}

export class SimulatedDevice implements Device {
  readonly path: string
  /** What a read finds now. */
  readonly bytes: Buffer
  /** What is on stable storage for certain. */
  readonly #stable: Buffer
  #pending: PendingSector[] = []
  #underWay: { offset: number; bytes: Buffer }[] = []
  #serial = 0
  failed: Error | undefined
  writtenBytes = 0
  commits = 0

  constructor(
    readonly name: string,
    readonly sizeBytes: number,
    readonly logicalBlockBytes: number,
    readonly buffered: boolean,
    readonly scheduler: Scheduler,
    readonly random: SeededRandom,
  ) {
    this.path = `/simulated/${name}`
    this.bytes = Buffer.alloc(sizeBytes)
    this.#stable = Buffer.alloc(sizeBytes)
  }

  tryRead(offset: number, target: Uint8Array, at: number, length: number): boolean {
    this.#check()
    if (!this.buffered || this.random.below(10) === 0) return false
    this.bytes.copy(target, at, offset, offset + length)
    return true
  }

  async read(offset: number, target: Uint8Array, at: number, length: number): Promise<void> {
    this.#check()
    await this.scheduler.delay()
    this.#check()
    if (offset + length > this.sizeBytes) throw new Error(`read beyond the end of ${this.name}`)
    this.bytes.copy(target, at, offset, offset + length)
  }

  write(offset: number, bytes: Uint8Array): Promise<void> | undefined {
    this.#check()
    if (offset % this.logicalBlockBytes !== 0 || bytes.length % this.logicalBlockBytes !== 0) {
      throw new Error(`write of ${bytes.length} at ${offset} to ${this.name} is not aligned`)
    }
    if (offset + bytes.length > this.sizeBytes) throw new Error(`write beyond the end of ${this.name}`)
    this.writtenBytes += bytes.length
    const copy = Buffer.from(bytes)
    if (this.buffered) {
      this.#apply(offset, copy)
      return undefined
    }
    const write = { offset, bytes: copy }
    this.#underWay.push(write)
    return this.scheduler.delay().then(() => {
      this.#check()
      this.#underWay = this.#underWay.filter((each) => each !== write)
      this.#apply(offset, copy)
    })
  }

  async commit(ranges: readonly ByteRange[]): Promise<void> {
    this.#check()
    this.commits++
    const serial = this.#serial
    await this.scheduler.delay()
    this.#check()
    const covered = (sector: number): boolean =>
      ranges.some(({ offset, length }) => sector * SECTOR >= offset && sector * SECTOR < offset + length)
    const kept: PendingSector[] = []
    for (const pending of this.#pending) {
      if (pending.serial <= serial && covered(pending.sector)) pending.bytes.copy(this.#stable, pending.sector * SECTOR)
      else kept.push(pending)
    }
    this.#pending = kept
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** The process dies; the machine lives on. */
  kill(): void {
    for (const { offset, bytes } of this.#underWay) this.#applySome(offset, bytes)
    this.#underWay = []
  }

  /** @param keeps whether a sector that no commit covered is there afterwards */
  powerCut(keeps: () => boolean = () => this.random.below(2) === 0): void {
    this.kill()
    for (const { sector, bytes } of this.#pending) {
      if (keeps()) bytes.copy(this.#stable, sector * SECTOR)
    }
    this.#pending = []
    this.#stable.copy(this.bytes)
  }

  /** What is on stable storage for certain. */
  stableBytes(offset: number, length: number): Buffer {
    return this.#stable.subarray(offset, offset + length)
  }

  /** Flips one bit of what is stored, now and for good. */
  flip(offset: number): void {
    this.bytes[offset]! ^= 1
    this.#stable[offset] = this.bytes[offset]!
    this.#pending = this.#pending.filter(({ sector }) => sector !== Math.floor(offset / SECTOR))
  }

  /** Makes zeroes of what is stored, for good. */
  erase(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length)
    this.#stable.fill(0, offset, offset + length)
    this.#pending = this.#pending.filter(({ sector }) => sector * SECTOR < offset || sector * SECTOR >= offset + length)
  }

  #apply(offset: number, bytes: Buffer): void {
    bytes.copy(this.bytes, offset)
    this.#serial++
    for (let at = 0; at < bytes.length; at += SECTOR) {
      this.#pending.push({
        sector: (offset + at) / SECTOR,
        bytes: bytes.subarray(at, at + SECTOR),
        serial: this.#serial,
      })
    }
  }

  #applySome(offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += SECTOR) {
      if (this.random.below(2) === 0) this.#apply(offset + at, bytes.subarray(at, at + SECTOR))
    }
  }

  #check(): void {
    if (this.failed !== undefined) throw this.failed
  }
}
