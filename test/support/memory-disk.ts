import { DiskError, type ServedDisk } from '../../src/engine/disk/served-disk.js'
import type { AllocationExtent } from '../../src/engine/origin/origin.js'

const PAGE = 4096

/** A request as {@link MemoryDisk} sees it. */
export interface MemoryDiskCall {
  readonly kind: 'read' | 'write' | 'flush' | 'trim' | 'zero' | 'prefetch' | 'allocation'
  readonly offset: number
  readonly length: number
  readonly fua: boolean
}

export interface MemoryDiskOptions {
  readonly name?: string
  readonly sizeBytes?: number
  readonly readOnly?: boolean
  readonly minimumBlockBytes?: number
  readonly canTrim?: boolean
  readonly canZero?: boolean
}

/**
 * A disk in memory that misbehaves on request. Reads hit unless `hits` is false; every other request, and every miss, goes
 * through `hook` first, which may wait (a slow disk) or throw (a failing one). A page is allocated once it was written;
 * trims and zeroes that may trim give it back.
 */
export class MemoryDisk implements ServedDisk {
  readonly name: string
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly minimumBlockBytes: number
  readonly preferredBlockBytes = PAGE
  readonly canTrim: boolean
  readonly canZero: boolean
  /** What the disk holds; tests look into it. */
  readonly bytes: Buffer
  readonly #allocated: Uint8Array
  /** Whether reads are answered at once. */
  hits = true
  hook: (call: MemoryDiskCall) => Promise<void> | void = () => {}
  /** Every call that was begun, in order. */
  readonly calls: MemoryDiskCall[] = []

  constructor(options: MemoryDiskOptions = {}) {
    this.name = options.name ?? 'memory'
    this.sizeBytes = options.sizeBytes ?? 1024 * 1024
    this.readOnly = options.readOnly ?? false
    this.minimumBlockBytes = options.minimumBlockBytes ?? 512
    this.canTrim = options.canTrim ?? true
    this.canZero = options.canZero ?? true
    this.bytes = Buffer.alloc(this.sizeBytes)
    this.#allocated = new Uint8Array(Math.ceil(this.sizeBytes / PAGE))
  }

  /** Fills the disk with bytes that differ from page to page. */
  fill(seed = 1): this {
    for (let at = 0; at < this.sizeBytes; at += 4) this.bytes.writeUInt32LE(((at + 1) * 2654435761 * seed) >>> 0, at)
    this.#allocated.fill(1)
    return this
  }

  tryRead(offset: number, length: number, target: Buffer, at: number): boolean {
    if (!this.hits) return false
    this.bytes.copy(target, at, offset, offset + length)
    return true
  }

  async read(offset: number, length: number, target: Buffer, at: number): Promise<void> {
    await this.#begin({ kind: 'read', offset, length, fua: false })
    this.bytes.copy(target, at, offset, offset + length)
  }

  tryWrite(): boolean {
    return false
  }

  async write(offset: number, data: Buffer, fua: boolean): Promise<void> {
    await this.#begin({ kind: 'write', offset, length: data.length, fua })
    data.copy(this.bytes, offset)
    this.#mark(offset, data.length, 1)
  }

  async flush(): Promise<void> {
    await this.#begin({ kind: 'flush', offset: 0, length: 0, fua: false })
  }

  async trim(offset: number, length: number, fua: boolean): Promise<void> {
    await this.#begin({ kind: 'trim', offset, length, fua })
    this.#clear(offset, length, true)
  }

  async zero(
    offset: number,
    length: number,
    { mayTrim, fast, fua }: { mayTrim: boolean; fast: boolean; fua: boolean },
  ): Promise<void> {
    await this.#begin({ kind: 'zero', offset, length, fua })
    if (fast && !mayTrim) throw new DiskError('ENOTSUP', 'zeroes without a hole are written one by one')
    this.#clear(offset, length, mayTrim)
  }

  async prefetch(offset: number, length: number): Promise<void> {
    await this.#begin({ kind: 'prefetch', offset, length, fua: false })
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    await this.#begin({ kind: 'allocation', offset, length, fua: false })
    const extents: AllocationExtent[] = []
    for (let at = offset; at < offset + length;) {
      const next = Math.min(offset + length, (Math.floor(at / PAGE) + 1) * PAGE)
      const hole = this.#allocated[Math.floor(at / PAGE)] === 0
      extents.push({ length: next - at, hole, zero: hole })
      at = next
    }
    return extents
  }

  async #begin(call: MemoryDiskCall): Promise<void> {
    this.calls.push(call)
    await this.hook(call)
  }

  /** Zeroes a range; whole pages of it become holes where allowed. */
  #clear(offset: number, length: number, holes: boolean): void {
    this.bytes.fill(0, offset, offset + length)
    if (!holes) return this.#mark(offset, length, 1)
    this.#allocated.fill(
      0,
      Math.ceil(offset / PAGE),
      Math.max(Math.ceil(offset / PAGE), Math.floor((offset + length) / PAGE)),
    )
  }

  #mark(offset: number, length: number, value: number): void {
    this.#allocated.fill(value, Math.floor(offset / PAGE), Math.ceil((offset + length) / PAGE))
  }
}
