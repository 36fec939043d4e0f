/**
 * The fault model of simulated cache devices:
 *
 * - A write that has returned is seen by every later read, and survives a *kill* of the process. A write under way at a kill is there for any
 *   subset of its sectors.
 * - A *power cut* keeps what a commit covered whose promise was resolved. Every other written sector is there or not, each for
 *   itself, in any combination: lost, reordered and torn writes. Of a sector written several times since, any of the versions may be there.
 * - Sectors of 512 bytes are written whole.
 * - On request a stored bit is flipped, or the next read, write or commit fails, and with it the device: it answers nothing until it is back.
 *
 * A `buffered` device answers writes at once and most reads inline; one that is not answers everything later, in any order.
 */
import type { ByteRange, Device } from '../../../src/engine/device/device.ts'
import type { SeededRandom } from '../../../src/base/random.ts'
import type { Scheduler } from './scheduler.ts'

const SECTOR = 512

/** What was written and is not on stable storage for certain. */
interface PendingWrite {
  readonly offset: number
  readonly bytes: Buffer
  readonly serial: number
}

export type DeviceCall = 'read' | 'write' | 'commit'

export class SimulatedDevice implements Device {
  readonly path: string
  /** What a read finds now. */
  readonly bytes: Buffer
  /** What is on stable storage for certain. */
  readonly #stable: Buffer
  #pending: PendingWrite[] = []
  readonly #underWay = new Set<{ readonly offset: number; readonly bytes: Buffer }>()
  #serial = 0
  /** What every call gets. */
  failed: Error | undefined
  /** The next call of this kind fails, and the device with it. */
  failNext: DeviceCall | undefined
  writes = 0
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
    this.#check('read')
    this.bytes.copy(target, at, offset, offset + length)
    return true
  }

  async read(offset: number, target: Uint8Array, at: number, length: number): Promise<void> {
    this.#check()
    await this.scheduler.delay()
    this.#check('read')
    if (offset + length > this.sizeBytes) throw new Error(`read beyond the end of ${this.name}`)
    this.bytes.copy(target, at, offset, offset + length)
  }

  write(offset: number, bytes: Uint8Array): Promise<void> | undefined {
    this.#check()
    if (offset % this.logicalBlockBytes !== 0 || bytes.length % this.logicalBlockBytes !== 0) {
      throw new Error(`write of ${bytes.length} at ${offset} to ${this.name} is not aligned`)
    }
    if (offset + bytes.length > this.sizeBytes) throw new Error(`write beyond the end of ${this.name}`)
    this.writes++
    this.writtenBytes += bytes.length
    const copy = Buffer.from(bytes)
    if (this.buffered) {
      this.#check('write', { offset, bytes: copy })
      this.#apply(offset, copy)
      return undefined
    }
    const write = { offset, bytes: copy }
    this.#underWay.add(write)
    return this.scheduler.delay().then(() => {
      this.#check()
      this.#underWay.delete(write)
      this.#check('write', write)
      this.#apply(offset, copy)
    })
  }

  async commit(ranges: readonly ByteRange[]): Promise<void> {
    this.#check()
    this.commits++
    const serial = this.#serial
    await this.scheduler.delay()
    this.#check('commit')
    const kept: PendingWrite[] = []
    for (const write of this.#pending) {
      if (write.serial > serial) {
        kept.push(write)
        continue
      }
      const from = write.offset
      const to = from + write.bytes.length
      if (!ranges.some(({ offset, length }) => offset < to && from < offset + length)) kept.push(write)
      else if (ranges.some(({ offset, length }) => offset <= from && to <= offset + length)) {
        write.bytes.copy(this.#stable, from)
      } else {
        for (const sector of sectorsOf(write)) {
          const at = sector.offset
          if (ranges.some(({ offset, length }) => at >= offset && at < offset + length))
            sector.bytes.copy(this.#stable, at)
          else kept.push(sector)
        }
      }
    }
    this.#pending = kept
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** The process dies; the machine lives on. */
  kill(): void {
    for (const write of this.#underWay) this.#applySome(write)
    this.#underWay.clear()
  }

  /** @param keeps whether a sector that no commit covered is there afterwards */
  powerCut(keeps: () => boolean = () => this.random.below(2) === 0): void {
    this.kill()
    for (const write of this.#pending)
      for (const { offset, bytes } of sectorsOf(write)) if (keeps()) bytes.copy(this.#stable, offset)
    this.#pending = []
    this.#stable.copy(this.bytes)
  }

  /** It was replugged, or its driver reset: it answers again. */
  comeBack(): void {
    this.failed = undefined
    this.failNext = undefined
  }

  /** What is on stable storage for certain. */
  stableBytes(offset: number, length: number): Buffer {
    return this.#stable.subarray(offset, offset + length)
  }

  /** Flips one bit of what is stored, now and for good. */
  flip(offset: number): void {
    this.bytes[offset]! ^= 1
    this.#stable[offset] = this.bytes[offset]!
    const at = offset - (offset % SECTOR)
    this.#drop(at, at + SECTOR)
  }

  /** Makes zeroes of what is stored, for good. */
  erase(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length)
    this.#stable.fill(0, offset, offset + length)
    this.#drop(offset, offset + length)
  }

  /** Whatever is pending of [from, to) is not written any more. */
  #drop(from: number, to: number): void {
    this.#pending = this.#pending.flatMap((write) =>
      write.offset >= to || write.offset + write.bytes.length <= from
        ? [write]
        : [...sectorsOf(write)].filter(({ offset }) => offset < from || offset >= to),
    )
  }

  #apply(offset: number, bytes: Buffer): void {
    bytes.copy(this.bytes, offset)
    this.#pending.push({ offset, bytes, serial: ++this.#serial })
  }

  #applySome(write: { readonly offset: number; readonly bytes: Buffer }): void {
    for (const { offset, bytes } of sectorsOf({ ...write, serial: 0 }))
      if (this.random.below(2) === 0) this.#apply(offset, bytes)
  }

  #check(call?: DeviceCall, write?: { readonly offset: number; readonly bytes: Buffer }): void {
    if (this.failed !== undefined) throw this.failed
    if (call === undefined || call !== this.failNext) return
    this.failNext = undefined
    this.failed = new Error(`${this.name} failed a ${call}`)
    if (write !== undefined) this.#applySome(write)
    throw this.failed
  }
}

function* sectorsOf({ offset, bytes, serial }: PendingWrite): Generator<PendingWrite> {
  for (let at = 0; at < bytes.length; at += SECTOR)
    yield { offset: offset + at, bytes: bytes.subarray(at, at + SECTOR), serial }
}
