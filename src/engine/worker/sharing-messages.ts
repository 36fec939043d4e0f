import type { IndexUpdate } from '../log/log-feed.js'
import type { AllocationExtent } from '../origin/origin.js'

/** A disk as its clients see it. */
export interface SharedDiskDescription {
  readonly name: string
  readonly sizeBytes: number
  readonly minimumBlockBytes: number
  readonly preferredBlockBytes: number
  readonly canTrim: boolean
  readonly canZero: boolean
}

export interface DiskRange {
  readonly offset: number
  readonly length: number
}

/** What the owner of a read-only disk asks of a thread that reads it as well. All of it is carried out in order. */
export interface ReaderCalls {
  /** Comes first. */
  open(disk: SharedDiskDescription): void
  /** The disk has a new log; what is told of its index follows. */
  beginLog(log: { readonly cacheId: string; readonly phase: number }): void
  /** Ends when it was carried out and nothing that it takes away is read any more. */
  followLog(update: IndexUpdate): void
  /** Takes a connection: the descriptor is the thread's from now on. */
  serve(descriptor: number): void
  /** Ends when every connection has. */
  close(_: null): void
}

/** What such a thread asks of the owner. Failures keep their errno. */
export interface OwnerCalls {
  read(range: DiskRange): Uint8Array
  prefetch(range: DiskRange): void
  allocation(range: DiskRange): AllocationExtent[]
  flush(_: null): void
  /** Pages that were found without the owner. */
  noteHits(pages: Uint32Array): void
  connectionEnded(_: null): void
}
