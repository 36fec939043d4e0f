import { MAXIMUM_STRING_BYTES } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'

const WORD = 0x1_0000_0000

/** An unsigned 64-bit number as a double: exact up to 2^53, beyond that merely larger than any disk. */
export function readUInt64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * WORD + bytes.readUInt32BE(at + 4)
}

/** `value` is a safe integer and not negative. */
export function writeUInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / WORD), at)
  bytes.writeUInt32BE(value % WORD, at + 4)
}

export function hasMagic(bytes: Buffer, at: number, magic: readonly [number, number]): boolean {
  return bytes.readUInt32BE(at) === magic[0] && bytes.readUInt32BE(at + 4) === magic[1]
}

export function writeMagic(bytes: Buffer, magic: readonly [number, number], at: number): void {
  bytes.writeUInt32BE(magic[0], at)
  bytes.writeUInt32BE(magic[1], at + 4)
}

/** Reads the fields of one option or option reply in order; running past its end is an {@link NbdProtocolError}. */
export class FieldReader {
  #at = 0
  constructor(readonly bytes: Buffer) {}

  get remaining(): number {
    return this.bytes.length - this.#at
  }

  #advance(length: number): number {
    const at = this.#at
    if (length > this.remaining) {
      throw new NbdProtocolError(`a field of ${length} bytes at ${at} runs past the end, ${this.bytes.length}`)
    }
    this.#at = at + length
    return at
  }

  uint16(): number {
    return this.bytes.readUInt16BE(this.#advance(2))
  }

  uint32(): number {
    return this.bytes.readUInt32BE(this.#advance(4))
  }

  uint64(): number {
    return readUInt64(this.bytes, this.#advance(8))
  }

  /** UTF-8 of a known length, at most {@link MAXIMUM_STRING_BYTES}. */
  string(length: number): string {
    if (length > MAXIMUM_STRING_BYTES) {
      throw new NbdProtocolError(`a string of ${length} bytes is longer than ${MAXIMUM_STRING_BYTES}`)
    }
    const at = this.#advance(length)
    return this.bytes.toString('utf8', at, at + length)
  }

  /** A string after its 32-bit length. */
  countedString(): string {
    return this.string(this.uint32())
  }

  end(): void {
    if (this.remaining > 0) throw new NbdProtocolError(`${this.remaining} bytes too many`)
  }
}

/** A string after its 32-bit length, as {@link FieldReader.countedString} reads it. */
export function encodeCountedString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  const encoded = Buffer.allocUnsafe(4 + bytes.length)
  encoded.writeUInt32BE(bytes.length, 0)
  bytes.copy(encoded, 4)
  return encoded
}
