import type { ObjectWriter } from '../object/write-object.js'
import type { CheckpointSource, CheckpointWatch, EngineCheckpoint, StreamWatch } from '../checkpoint.js'

/** One place for checkpoints: a cache, or a directory. */
export interface CheckpointKeeper {
  /** As {@link CheckpointEngine.writeCheckpoint}, wherever its stream comes from. */
  keep(source: FilledSource, watch: CheckpointWatch): Promise<EngineCheckpoint>
  verifyCheckpoint(id: string, watch: CheckpointWatch): Promise<EngineCheckpoint>
  readCheckpoint(id: string, socket: string, watch: StreamWatch): Promise<void>
  /** Lends a checkpoint and its stream, piece by piece, each verified: it is not deleted meanwhile. */
  lend<Result>(id: string, watch: CheckpointWatch, use: Borrow<Result>): Promise<Result>
  checkpoints(): Promise<EngineCheckpoint[]>
  deleteCheckpoint(id: string): Promise<void>
}

export type Borrow<Result> = (checkpoint: EngineCheckpoint, pieces: AsyncIterable<Buffer>) => Promise<Result>

/** A checkpoint that is to be kept, and what fills it. */
export interface FilledSource extends Omit<CheckpointSource, 'socket'> {
  /** Milliseconds since 1970. */
  readonly createdAt: number
  /** Puts the whole stream into the writer, or rejects. */
  readonly fill: (writer: ObjectWriter, watch: CheckpointWatch) => Promise<void>
}
