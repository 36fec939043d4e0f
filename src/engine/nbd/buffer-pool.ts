/** Room for the headers that stand in front of data, so that a power of two of data still fits its class. */
const HEADROOM_BYTES = 64
const SMALLEST_EXPONENT = 12
const LARGEST_EXPONENT = 25

/**
 * Buffers of a thread for replies and payloads, in classes of powers of two from 4 KiB to 32 MiB (and a little more, for
 * headers). It bounds what it keeps for later, not what is in use: whoever takes buffers bounds that.
 */
export class BufferPool {
  readonly #free: Buffer[][] = Array.from({ length: LARGEST_EXPONENT + 1 }, () => [])
  #keptBytes = 0

  constructor(private readonly maximumKeptBytes: number) {}

  /** What waits here to be used again. */
  get keptBytes(): number {
    return this.#keptBytes
  }

  /** A buffer of at least `bytes` (at most 32 MiB and headroom), with any content. */
  take(bytes: number): Buffer {
    const exponent = exponentOf(bytes)
    const buffer = this.#free[exponent]!.pop()
    if (buffer === undefined) return Buffer.allocUnsafeSlow(2 ** exponent + HEADROOM_BYTES)
    this.#keptBytes -= buffer.length
    return buffer
  }

  /** Takes back a whole buffer of {@link take} that nothing refers to any more. */
  give(buffer: Buffer): void {
    if (this.#keptBytes + buffer.length > this.maximumKeptBytes) return
    this.#free[exponentOf(buffer.length)]!.push(buffer)
    this.#keptBytes += buffer.length
  }
}

function exponentOf(bytes: number): number {
  const units = bytes <= HEADROOM_BYTES ? 1 : bytes - HEADROOM_BYTES
  return Math.max(SMALLEST_EXPONENT, 32 - Math.clz32(units - 1))
}

/** The pool that the connections of this thread share. */
export const threadBufferPool = new BufferPool(64 * 1024 * 1024)
