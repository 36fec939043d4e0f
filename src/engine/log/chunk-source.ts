/**
 * engine/log/: the append-only log of one disk: appending, committing, sealing, settling, reclaiming, recovering.
 *
 * Words: a *frame* is what one append writes; its *LSN* counts write frames in 512-byte units; `settledLsn` is the position below which
 * the origin needs nothing more; a frame is *stable* when a commit covered it; a chunk is *open* while frames are appended, *sealing*
 * until all of it is stable, *sealed* when its summary is written. A log has one writer, the I/O thread of its disk.
 */
import type { Device } from '../device/device.js'

/** A chunk as its tenant holds it. */
export interface Chunk {
  readonly device: Device
  /** Position of the device in its cache. */
  readonly deviceIndex: number
  /** Number of the chunk on its device. */
  readonly index: number
  /** Bytes from the start of the device. */
  readonly offset: number
  /** The last generation that was used for it; the tenant uses the next. Never falls. */
  generation: number
}

/** Where a log gets chunks and gives them back. */
export interface ChunkSource {
  readonly cacheId: string
  readonly chunkBytes: number
  /** A free chunk, its free header on stable storage; undefined where there is none now. */
  take(preferredDevice: number | undefined): Chunk | undefined
  /** Returns a chunk whose free header, with the chunk's present generation, is on stable storage. */
  give(chunk: Chunk): void
  /** No more chunks are to be had but those that logs give back. */
  readonly exhausted: boolean
  /** Calls `callback` once when `take` may succeed again, or when the source turned out to be exhausted. */
  whenChanged(callback: () => void): void
}
