/**
 * format/: the bytes on the device: superblock, chunk header, frame, summary. Each structure is one field table, and the table drives
 * encoding, decoding, the size check and the documentation (vmcache-format(5)).
 *
 * Rules that hold for every structure: little-endian; the first four bytes are a CRC-32 over all that follows (header and what
 * belongs to it), the next four a magic number; reserved bytes are zero; all zeroes is never valid. Numbers of 64 bits
 * hold safe integers only.
 */
import { assert } from '../base/assert.js'
import { checksumOf } from '../base/checksum.js'

/** Widths in bytes; `id` is 32 hexadecimal digits in memory; `text:N` is UTF-8, zero-padded to N bytes. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'u64' | 'id' | `text:${number}` | `reserved:${number}`

export type Fields = Readonly<Record<string, FieldType>>

type ValueOf<T extends FieldType> = T extends 'id' | `text:${number}`
  ? string
  : T extends `reserved:${number}`
    ? never
    : number

export type Values<F extends Fields> = {
  -readonly [K in keyof F as F[K] extends `reserved:${number}` ? never : K]: ValueOf<F[K]>
}

/** Bytes of checksum and magic in front of the fields of every structure. */
const PREFIX_BYTES = 8

/** A field in its place. */
export interface Placed {
  readonly name: string
  readonly type: FieldType
  readonly offset: number
  readonly bytes: number
}

/** A structure as its documentation shows it. */
export interface Layout {
  readonly name: string
  readonly magic: string
  readonly sizeBytes: number
  /** Behind checksum and magic, without gaps. */
  readonly fields: readonly Placed[]
}

export class Structure<F extends Fields> {
  readonly #placed: readonly Placed[]
  readonly #magic: number

  /**
   * @param magic four ASCII characters
   * @param sizeBytes size of the structure without what may follow it; the fields must fill it exactly
   */
  constructor(
    readonly name: string,
    readonly magic: string,
    readonly sizeBytes: number,
    fields: F,
  ) {
    assert(magic.length === 4, `${name}: the magic has four characters`)
    this.#magic = Buffer.from(magic, 'latin1').readUInt32LE(0)
    let offset = PREFIX_BYTES
    this.#placed = Object.entries(fields).map(([field, type]) => {
      const placed = { name: field, type, offset, bytes: widthOf(type) }
      offset += placed.bytes
      return placed
    })
    assert(offset === sizeBytes, `${name}: the fields fill ${offset} of ${sizeBytes} bytes`)
  }

  get layout(): Layout {
    return { name: this.name, magic: this.magic, sizeBytes: this.sizeBytes, fields: this.#placed }
  }

  /** Writes header and checksum at `at`; the checksum covers up to `end`, whose bytes beyond the header are already in place. */
  encode(target: Buffer, at: number, values: Values<F>, end = at + this.sizeBytes): void {
    target.writeUInt32LE(this.#magic, at + 4)
    for (const field of this.#placed) {
      encodeField(target, at + field.offset, field, (values as Record<string, string | number>)[field.name])
    }
    this.reseal(target, at, end)
  }

  /** Writes the checksum anew, after bytes that it covers were put in place. */
  reseal(target: Buffer, at: number, end = at + this.sizeBytes): void {
    target.writeUInt32LE(checksumOf(target, at + 4, end), at)
  }

  /** Whether the bytes at `at` claim to be this structure; says nothing of their integrity. */
  hasMagic(source: Buffer, at: number): boolean {
    return at + this.sizeBytes <= source.length && source.readUInt32LE(at + 4) === this.#magic
  }

  /** Whether the checksum over [at + 4, end) is right; `end` beyond the source is not. */
  verify(source: Buffer, at: number, end = at + this.sizeBytes): boolean {
    return end <= source.length && source.readUInt32LE(at) === checksumOf(source, at + 4, end)
  }

  checksum(source: Buffer, at: number): number {
    return source.readUInt32LE(at)
  }

  /** The fields as they stand, unverified; undefined where a text or number is out of its bounds. */
  decode(source: Buffer, at: number): Values<F> | undefined {
    const values: Record<string, string | number> = {}
    for (const field of this.#placed) {
      if (field.type.startsWith('reserved')) continue
      const value = decodeField(source, at + field.offset, field)
      if (value === undefined) return undefined
      values[field.name] = value
    }
    return values as Values<F>
  }

  /** The fields where magic and checksum (up to the end of the header) are right, else undefined. */
  read(source: Buffer, at: number): Values<F> | undefined {
    return this.hasMagic(source, at) && this.verify(source, at) ? this.decode(source, at) : undefined
  }
}

function widthOf(type: FieldType): number {
  switch (type) {
    case 'u8':
      return 1
    case 'u16':
      return 2
    case 'u32':
      return 4
    case 'u64':
      return 8
    case 'id':
      return 16
    default:
      return Number(type.slice(type.indexOf(':') + 1))
  }
}

function encodeField(target: Buffer, offset: number, field: Placed, value: string | number | undefined): void {
  switch (field.type) {
    case 'u8':
      target.writeUInt8(value as number, offset)
      break
    case 'u16':
      target.writeUInt16LE(value as number, offset)
      break
    case 'u32':
      target.writeUInt32LE(value as number, offset)
      break
    case 'u64': {
      const number = value as number
      assert(Number.isSafeInteger(number) && number >= 0, `${field.name}: ${number} is not a safe unsigned integer`)
      target.writeUInt32LE(number % 0x1_0000_0000, offset)
      target.writeUInt32LE(Math.floor(number / 0x1_0000_0000), offset + 4)
      break
    }
    case 'id':
      assert(/^[0-9a-f]{32}$/.test(value as string), `${field.name}: an id is 32 lower-case hexadecimal digits`)
      target.write(value as string, offset, 16, 'hex')
      break
    default: {
      target.fill(0, offset, offset + field.bytes)
      if (field.type.startsWith('reserved')) break
      const text = value as string
      assert(Buffer.byteLength(text) <= field.bytes, `${field.name}: longer than ${field.bytes} bytes`)
      target.write(text, offset, field.bytes, 'utf8')
    }
  }
}

function decodeField(source: Buffer, offset: number, field: Placed): string | number | undefined {
  switch (field.type) {
    case 'u8':
      return source.readUInt8(offset)
    case 'u16':
      return source.readUInt16LE(offset)
    case 'u32':
      return source.readUInt32LE(offset)
    case 'u64': {
      const value = source.readUInt32LE(offset) + source.readUInt32LE(offset + 4) * 0x1_0000_0000
      return Number.isSafeInteger(value) ? value : undefined
    }
    case 'id':
      return source.toString('hex', offset, offset + 16)
    default: {
      let end = offset + field.bytes
      while (end > offset && source[end - 1] === 0) end--
      return source.toString('utf8', offset, end)
    }
  }
}
