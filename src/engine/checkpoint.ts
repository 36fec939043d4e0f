import type { CheckpointPlace } from '../model/checkpoint.js'
import type { Progress } from './engine.js'

/** A checkpoint as the engine keeps it: the bytes of one stream, in chunks that nobody else gets until it is deleted, or in a file. */
export interface EngineCheckpoint {
  /** 32 hexadecimal digits. */
  readonly id: string
  /** UUID of the VM. */
  readonly vm: string
  /** What the VM was called then. */
  readonly name: string
  /** Length of the stream. */
  readonly bytes: number
  /** What it takes of its place: its chunks, or its file. */
  readonly storedBytes: number
  /** ISO 8601. */
  readonly createdAt: string
  /** JSON of whoever wrote it; means nothing to the engine. Empty where it cannot be read any more, and in lists of files. */
  readonly attributes: string
  /** What is known to be wrong with it, in words; null where nothing is. Whether its bytes are right is known once they were read. */
  readonly damage: string | null
}

/** A stream that is to become a checkpoint. */
export interface CheckpointSource {
  /** 32 hexadecimal digits, never used before. */
  readonly id: string
  /** UUID of the VM; what is reserved for it is used first. */
  readonly vm: string
  readonly name: string
  /** At most 64 KiB of UTF-8. */
  readonly attributes: string
  /** How long the stream is at most, for the refusal beforehand; null where nobody knows. */
  readonly bytes: number | null
  /** Absolute path of the unix socket to listen at; there is nothing there yet. */
  readonly socket: string
}

export interface CheckpointWatch {
  readonly progress: Progress
  readonly signal: AbortSignal
}

export interface StreamWatch extends CheckpointWatch {
  /** Called when the socket listens. */
  readonly ready: () => void
}

/**
 * The part of the engine that keeps checkpoints: in the chunks of open caches, and in files. A file holds the same object as chunks do, with
 * the same checksums.
 */
export interface CheckpointEngine {
  /**
   * Promises chunks to a VM for its future checkpoint, instead of those that it was promised before; 0 gives them up. Returns the bytes that
   * are promised, in whole chunks. NO_SPACE, and nothing changed, where they cannot be had; with `bestEffort` as many as there are. A
   * promise is not on record: whoever opens the cache again makes it again.
   */
  reserve(cache: string, holder: string, bytes: number, options: { readonly bestEffort: boolean }): Promise<number>
  /** Makes a directory for checkpoints, for good; the one above it has to be there. FAILED, DENIED. */
  makeCheckpointDirectory(directory: string): Promise<void>
  /**
   * Listens at `socket`, takes one connection, and keeps what comes in until its end. Ends when all of it is on stable storage and was read
   * back from there. Chunks: those reserved for the VM, then free ones, then what logs give up. NO_SPACE, DEVICE_FAILED, FAILED, CORRUPT (it
   * was not read back as it was written) or INTERRUPTED: nothing of it is kept, and the connection is closed.
   */
  writeCheckpoint(place: CheckpointPlace, source: CheckpointSource, watch: StreamWatch): Promise<EngineCheckpoint>
  /** Keeps the same checkpoint in another place too. The same promises, and errors of both places. */
  copyCheckpoint(
    from: CheckpointPlace,
    id: string,
    to: CheckpointPlace,
    watch: CheckpointWatch,
  ): Promise<EngineCheckpoint>
  /** Reads all of it. CORRUPT where it is not what was written; NOT_FOUND. */
  verifyCheckpoint(place: CheckpointPlace, id: string, watch: CheckpointWatch): Promise<EngineCheckpoint>
  /**
   * Listens at `socket` and pours the checkpoint into the first connection; every block was verified before it is sent. CORRUPT: the
   * connection was closed before the end.
   */
  readCheckpoint(place: CheckpointPlace, id: string, socket: string, watch: StreamWatch): Promise<void>
  /** Those that are whole by their seal, oldest first. FAILED where a directory cannot be read, or not soon. */
  checkpoints(place: CheckpointPlace): Promise<EngineCheckpoint[]>
  /** Erases it, and what is left of one that was not finished; ends when that is on stable storage. NOT_FOUND. */
  deleteCheckpoint(place: CheckpointPlace, id: string): Promise<void>
}
