/**
 * engine/disk/modes/: how a change of a disk reaches log and origin, one file per mode. All of them send it to the origin before it is
 * answered; they differ in what the log is told first, so that nothing stale can be served whatever happens in between.
 */
import type { Batch } from '../../log/batch.js'
import type { StagedExtent } from '../../log/staged-extent.js'
import type { Mode } from '../../../model/mode.js'

export interface LoggingDisk {
  /** Guest data as extents: whole pages as they are, parts of pages joined with what is cached of them. */
  dataExtents(offset: number, data: Buffer): Promise<StagedExtent[]>
  /** All pages that a range touches, as one extent without data. */
  invalidExtent(offset: number, length: number): StagedExtent
  /** Appends guest requests to the log; undefined where the disk has none. */
  stage(extents: readonly StagedExtent[]): Batch | undefined
}

export interface ModePath {
  readonly mode: Mode
  /** Whether the disk has a log in this mode. */
  readonly logs: boolean
  /** Tells the log of a write before the origin hears of it. `bypass`: it is part of a long stream and not worth caching. */
  record(disk: LoggingDisk, offset: number, data: Buffer, bypass: boolean): Promise<Batch | undefined>
}
