/** What one pass over the disk took, seen by the client. */
export interface Measurement {
  readonly requests: number
  readonly bytes: number
  readonly seconds: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
}

/** What became of records that were written while the engine was killed. */
export interface Records {
  readonly written: number
  /** Records that were acknowledged and are not there afterwards. */
  readonly lost: number
  readonly longestPauseMilliseconds: number
}

/** Somebody who works on the disk. */
export interface Client {
  /** One line for people. */
  readonly description: string
  /** Reads all of its data once, with nothing in caches of its own: from the storage itself, or through the cache. */
  readAll(path: 'direct' | 'cached'): Promise<Measurement>
  /** Begins to write records through the cache, each synced before the next; the result stops and checks them. */
  writeRecords(): Promise<() => Promise<Records>>
  close(): Promise<void>
}

/** The value below which `share` of the sorted values lie. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted.length === 0 ? 0 : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}
