import { checksumOf } from '../../base/checksum.js'
import { sectorCount } from '../../format/frame.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { ChunkColumns } from '../index/chunk-columns.js'
import type { Chunk } from './chunk-source.js'
import type { LogCounters } from './log.js'

/** What reading needs of a chunk: where it is, what it has, and who reads it. */
export class StoredChunk {
  columns = new ChunkColumns()
  /** Reads under way; a chunk is not given back while there are any. */
  readers = 0
  /** Called when the last reader has gone. */
  onIdle: (() => void) | undefined

  constructor(
    readonly chunk: Chunk,
    /** Index in the log's chunk list: the upper part of a location. */
    readonly slot: number,
  ) {}

  release(): void {
    if (--this.readers === 0) this.onIdle?.()
  }

  /** Ends when nobody reads the chunk. */
  async idle(): Promise<void> {
    if (this.readers > 0) await new Promise<void>((resolve) => (this.onIdle = resolve))
  }
}

/** The stored sectors of an entry, verified; undefined where the device has something else there. */
export async function readEntry(
  chunk: StoredChunk,
  ordinal: number,
  counters: LogCounters,
): Promise<Buffer | undefined> {
  const { columns } = chunk
  const { device } = chunk.chunk
  const length = sectorCount(columns.sectorMap[ordinal]!) * SECTOR_BYTES
  const data = Buffer.allocUnsafe(length)
  const offset = chunk.chunk.offset + columns.unit[ordinal]! * SECTOR_BYTES
  const checksum = columns.checksum[ordinal]!
  chunk.readers++
  try {
    if (!device.tryRead(offset, data, 0, length)) await device.read(offset, data, 0, length)
  } finally {
    chunk.release()
  }
  counters.deviceReadBytes += length
  if (checksumOf(data) === checksum) return data
  counters.badPages++
  return undefined
}
