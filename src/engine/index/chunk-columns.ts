/** Entries of one chunk in log order, as columns: a page of data each, or another extent of a frame. */
const INITIAL_ENTRIES = 64

export class ChunkColumns {
  /** Page number; first page of an extent that is no data. */
  page: Uint32Array
  /** CRC-32 of the stored sectors; pages in the extent where it is no data. */
  checksum: Uint32Array
  /** 512-byte unit in the chunk where the stored sectors begin. */
  unit: Uint16Array
  /** Which sectors are stored; 0 says that the entry is no data. */
  sectorMap: Uint8Array
  /** Heat of a page; EXTENT_KIND of an extent that is no data. */
  heat: Uint8Array
  /** One bit an entry: a guest wrote it, so the origin lacks it until it is settled. */
  #writes: Uint8Array
  count = 0

  constructor(capacity = INITIAL_ENTRIES) {
    this.page = new Uint32Array(capacity)
    this.checksum = new Uint32Array(capacity)
    this.unit = new Uint16Array(capacity)
    this.sectorMap = new Uint8Array(capacity)
    this.heat = new Uint8Array(capacity)
    this.#writes = new Uint8Array((capacity + 7) >>> 3)
  }

  /** Appends an entry and returns its ordinal. */
  add(page: number, checksum: number, unit: number, sectorMap: number, heat: number, isWrite: boolean): number {
    if (this.count === this.page.length) this.#resize(this.count * 2)
    const ordinal = this.count++
    this.page[ordinal] = page
    this.checksum[ordinal] = checksum
    this.unit[ordinal] = unit
    this.sectorMap[ordinal] = sectorMap
    this.heat[ordinal] = heat
    if (isWrite) this.#writes[ordinal >>> 3]! |= 1 << (ordinal & 7)
    return ordinal
  }

  isWrite(ordinal: number): boolean {
    return (this.#writes[ordinal >>> 3]! & (1 << (ordinal & 7))) !== 0
  }

  /** Gives back what growth took too much; for a chunk that is full. */
  trim(): void {
    if (this.count < this.page.length) this.#resize(Math.max(1, this.count))
  }

  get bytes(): number {
    return this.page.length * 12 + this.#writes.length
  }

  #resize(capacity: number): void {
    const keep = Math.min(capacity, this.count)
    const resized = <A extends Uint32Array | Uint16Array | Uint8Array>(from: A, to: A): A => {
      to.set(from.subarray(0, keep))
      return to
    }
    this.page = resized(this.page, new Uint32Array(capacity))
    this.checksum = resized(this.checksum, new Uint32Array(capacity))
    this.unit = resized(this.unit, new Uint16Array(capacity))
    this.sectorMap = resized(this.sectorMap, new Uint8Array(capacity))
    this.heat = resized(this.heat, new Uint8Array(capacity))
    const writes = new Uint8Array((capacity + 7) >>> 3)
    writes.set(this.#writes.subarray(0, (keep + 7) >>> 3))
    this.#writes = writes
  }
}
