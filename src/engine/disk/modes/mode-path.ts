/**
 * engine/disk/modes/: what the log is told of a write, one file per mode. All modes but write-back send a write to the origin before it is
 * answered; they differ in what the log says first, so that nothing stale can be served whatever happens in between.
 */
import type { StagedExtent } from '../../log/staged-extent.js'
import type { Mode } from '../../../model/mode.js'
import type { RequestExtents } from '../request-extents.js'

export interface ModePath {
  readonly mode: Mode
  /** Whether the disk has a log in this mode. */
  readonly logs: boolean
  /** Whether the log is enough for an answer, and the origin gets it later. */
  readonly writesBack: boolean
  /** Whether the log gets the data of a write. `isStreamed`: it is part of a long stream and not worth caching. */
  recordsData(isStreamed: boolean): boolean
  /** What the log says of a write. */
  record(
    extents: RequestExtents,
    offset: number,
    data: Buffer,
    isStreamed: boolean,
  ): StagedExtent[] | Promise<StagedExtent[]>
}
