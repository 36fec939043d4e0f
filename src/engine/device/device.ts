/**
 * engine/device/: the fast storage that gives chunks to a cache, as the data path sees it.
 *
 * A *device* is a file or a block device. A *write* that has returned survives the death of this process (it is in
 * the page cache, or on the device); only a *commit* makes it survive a power cut. A commit covers the given ranges and
 * never waits for another tenant's data.
 */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

export interface Device {
  /** As the administrator named it, for messages. */
  readonly path: string
  readonly sizeBytes: number
  /** Offsets and lengths of writes are multiples of it (512 or 4096). */
  readonly logicalBlockBytes: number

  /**
   * Reads `length` bytes at `offset` into `target` at `at` if that needs no waiting; false if it might wait (then call
   * `read`). Never throws for a slow device; throws for a failed one.
   */
  tryRead(offset: number, target: Uint8Array, at: number, length: number): boolean
  read(offset: number, target: Uint8Array, at: number, length: number): Promise<void>

  /** Writes all of `bytes`. Returns undefined when it is done already, else a promise. */
  write(offset: number, bytes: Uint8Array): Promise<void> | undefined

  /**
   * Puts the ranges, which were written before, on stable storage. A commit that fails is final: the device has
   * failed, and every later call rejects.
   */
  commit(ranges: readonly ByteRange[]): Promise<void>
  close(): Promise<void>
}
