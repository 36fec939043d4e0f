import { VmcacheError } from '../../base/errors.js'

/** The block graph of a VM with hundreds of disks is some 100 KiB; nobody who talks QMP sends such a line. */
const LONGEST_LINE_BYTES = 16 * 1024 * 1024
const NEW_LINE = 0x0a

/** Cuts a stream of bytes into lines, whatever the pieces in which it comes. */
export class LineSplitter {
  #pieces: Buffer[] = []
  #length = 0
  readonly #longest: number

  constructor(longestLineBytes = LONGEST_LINE_BYTES) {
    this.#longest = longestLineBytes
  }

  /** The lines that `bytes` completes, without their ends and without empty ones. HYPERVISOR where one gets too long. */
  push(bytes: Buffer): string[] {
    const lines: string[] = []
    let start = 0
    for (let end = bytes.indexOf(NEW_LINE); end >= 0; end = bytes.indexOf(NEW_LINE, start)) {
      this.#keep(bytes.subarray(start, end))
      const line = Buffer.concat(this.#pieces, this.#length).toString('utf8').trim()
      this.#pieces = []
      this.#length = 0
      if (line !== '') lines.push(line)
      start = end + 1
    }
    this.#keep(bytes.subarray(start))
    return lines
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0) return
    this.#length += piece.length
    if (this.#length > this.#longest) {
      throw new VmcacheError('HYPERVISOR', `a line of QEMU's monitor has more than ${this.#longest} bytes`)
    }
    this.#pieces.push(Buffer.from(piece))
  }
}
