import type { BufferPool } from './buffer-pool.js'

/** The writing side of a socket, as much of net.Socket as is needed. */
export interface ByteSink {
  /**
   * Where the sink can do that: sends as many of `bytes` as there is room for, without waiting, and returns how many; only called while
   * no write is under way. An error shows at the next write.
   */
  trySend?(bytes: Uint8Array): number
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown
  cork(): void
  uncork(): void
}

/** Small things are put together up to this size. */
const GATHER_BYTES = 256 * 1024

/**
 * What is to be sent on a socket, put together and written with one call at {@link flush}; while a write is under way,
 * more is gathered for the next. Small things go by {@link reserve} into a buffer of the pool; large ones keep their own
 * buffer and go by {@link append}. A full buffer is written at once, while it is still in the processor's cache.
 */
export class GatheredOutput {
  /** Where to put what was reserved. */
  buffer: Buffer
  #filled = 0
  /** Complete pieces that wait for the next write, and the pool's buffers that go back after it. */
  #pieces: Uint8Array[] = []
  #pooled: Buffer[] = []
  #heldBytes = 0
  #writing = false
  #closed = false

  /** `onWritten` is called after each write that the socket took its time for; a write that fails closes the output. */
  constructor(
    private readonly sink: ByteSink,
    private readonly pool: BufferPool,
    private readonly onWritten: () => void,
  ) {
    this.buffer = EMPTY
  }

  /** Memory that waits for the socket, in bytes. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Nothing waits to be written. */
  get idle(): boolean {
    return this.#closed || (!this.#writing && this.#filled === 0 && this.#pieces.length === 0)
  }

  /** Nothing is sent any more; what is put in from now on is dropped. */
  close(): void {
    this.#closed = true
    for (const buffer of this.#pooled) this.pool.give(buffer)
    this.#pieces = []
    this.#pooled = []
  }

  /**
   * Makes room for `bytes` and returns where in `buffer` it begins. Nothing is sent of it before {@link commit}; without
   * that the room is given to the next.
   */
  reserve(bytes: number): number {
    if (this.#filled + bytes > this.buffer.length) {
      if (this.#filled > 0) this.flush()
      this.#seal()
      this.buffer = this.pool.take(Math.max(GATHER_BYTES, bytes))
      this.#heldBytes += this.buffer.length
    }
    return this.#filled
  }

  /** `bytes` of what was reserved have been filled in. */
  commit(bytes: number): void {
    if (!this.#closed) this.#filled += bytes
  }

  /** Sends `bytes`, which stay untouched until they are written; `pooled` then goes back to the pool. */
  append(bytes: Uint8Array, pooled: Buffer | null): void {
    if (this.#closed) {
      if (pooled !== null) this.pool.give(pooled)
      return
    }
    this.#seal()
    this.#pieces.push(bytes)
    if (pooled !== null) this.#pooled.push(pooled)
    this.#heldBytes += pooled?.length ?? bytes.length
  }

  /**
   * Writes what was gathered, unless a write is under way. Returns true where there was something and all of it has been taken
   * at once; `onWritten` is not called for that.
   */
  flush(): boolean {
    if (this.#writing || this.#closed) return false
    this.#seal()
    if (this.#pieces.length === 0) return false
    if (this.#sendNow()) return true
    const pieces = this.#pieces
    const pooled = this.#pooled
    const held = this.#heldBytes
    this.#pieces = []
    this.#pooled = []
    this.#writing = true
    const done = (error?: Error | null): void => this.#written(error, pooled, held)
    if (pieces.length === 1) {
      this.sink.write(pieces[0]!, done)
      return false
    }
    this.sink.cork()
    for (let index = 0; index < pieces.length - 1; index++) this.sink.write(pieces[index]!, ignore)
    this.sink.write(pieces[pieces.length - 1]!, done)
    this.sink.uncork()
    return false
  }

  /** Sends what there is room for, and returns whether that was all; what is left stays to be written. */
  #sendNow(): boolean {
    const { sink } = this
    if (sink.trySend === undefined) return false
    const pieces = this.#pieces
    for (let index = 0; index < pieces.length; index++) {
      const piece = pieces[index]!
      const sent = sink.trySend(piece)
      if (sent === piece.length) continue
      pieces[index] = piece.subarray(sent)
      pieces.splice(0, index)
      return false
    }
    for (const buffer of this.#pooled) this.pool.give(buffer)
    pieces.length = 0
    this.#pooled.length = 0
    this.#heldBytes = 0
    return true
  }

  #written(error: Error | null | undefined, pooled: Buffer[], held: number): void {
    this.#writing = false
    this.#heldBytes -= held
    for (const buffer of pooled) this.pool.give(buffer)
    if (error) return this.close()
    this.flush()
    this.onWritten()
  }

  #seal(): void {
    if (this.#filled > 0) {
      this.#pieces.push(this.buffer.subarray(0, this.#filled))
      this.#pooled.push(this.buffer)
    } else if (this.buffer.length > 0) {
      this.#heldBytes -= this.buffer.length
      this.pool.give(this.buffer)
    }
    this.buffer = EMPTY
    this.#filled = 0
  }
}

const EMPTY = Buffer.alloc(0)
const ignore = (): void => {}
