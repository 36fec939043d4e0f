import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import {
  EXTENT_KIND,
  FRAME_KIND,
  decodeFrame,
  frameDataOffset,
  sectorCount,
  type DecodedFrame,
} from '../../format/frame.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { checksumOf } from '../../base/checksum.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { LogChunk } from './log-chunk.js'
import { APPEND_BUFFER_BYTES, type Log } from './log.js'
import { Span } from './span.js'

/** A place between two frames. */
export interface ReplayPosition {
  /** The chunk, by its number in the log. */
  readonly sequence: number
  /** Bytes from the start of the chunk. */
  readonly offset: number
  readonly lsn: number
}

/** A frame above `settledLsn` is not to be read: what it holds is nowhere else. */
export class ReplayDamage extends Error {
  override readonly name = 'ReplayDamage'
}

/**
 * Reads the write frames of a log back in order. Old versions of a page need no index: they are in the log as long as they
 * are above `settledLsn`.
 */
export class LogReplay {
  #position: ReplayPosition
  #window: Buffer | undefined
  #windowChunk: LogChunk | undefined
  #windowOffset = 0
  #windowLength = 0
  /** Places that could not be read as frames where there should have been some, with `pastDamage`. */
  damages = 0
  #isInDamage = false

  /** @param position where the first frame at or above `settledLsn` begins, or some frame before that */
  constructor(
    readonly log: Log,
    position: ReplayPosition,
    /** Whether it goes on behind what cannot be read. */
    readonly pastDamage = false,
  ) {
    this.#position = position
  }

  /** Begins at the first frame above `settledLsn`. */
  static at(log: Log, pastDamage = false): LogReplay {
    const { settledLsn, chunks } = log
    const last = chunks.at(-1)
    // All of it was settled, and reclaimed: it goes on in the chunk that comes next.
    if (last === undefined)
      return new LogReplay(log, { sequence: 0, offset: CHUNK_HEADER_BYTES, lsn: settledLsn }, pastDamage)
    if (settledLsn === last.nextLsn) {
      return new LogReplay(log, { sequence: last.sequence, offset: last.writtenOffset, lsn: settledLsn }, pastDamage)
    }
    const chunk = chunks.find(({ nextLsn }) => nextLsn > settledLsn)!
    const begin = { sequence: chunk.sequence, offset: CHUNK_HEADER_BYTES, lsn: chunk.firstLsn }
    return new LogReplay(log, begin, pastDamage)
  }

  get position(): ReplayPosition {
    return this.#position
  }

  /** Goes back to a place that it was at: what follows is read from the device again. */
  rewind(position: ReplayPosition): void {
    this.#position = position
    this.#windowChunk = undefined
  }

  /** Gives its memory back; the next read takes it again. */
  rest(): void {
    if (this.#window !== undefined) releaseAligned(this.#window)
    this.#window = undefined
    this.#windowChunk = undefined
  }

  /**
   * The next writes that no barrier divides, as many as fit into `memory`; undefined where there is nothing stable above the position. Each frame names the frame below which all was stable when it was written. A frame that calls the first one of the span
   * stable may have been written after a FLUSH that covered it: there the span ends. With `acrossBarriers` it goes on.
   */
  async nextSpan(memory: Buffer, acrossBarriers: boolean): Promise<Span | undefined> {
    const { log } = this
    const span = new Span(log, memory)
    const stableLsn = log.stableLsn
    const begunAt = this.#position.lsn
    let first: number | undefined
    while (this.#position.lsn < stableLsn && span.bytes < memory.length) {
      const { sequence, offset, lsn } = this.#position
      const chunk = this.#chunkAt(sequence)
      // A chunk that has no writes from here on need not be readable.
      if (chunk === undefined || offset >= chunk.deviceOffset || chunk.nextLsn <= lsn) {
        const next = this.#chunkAt(sequence + 1) ?? log.chunks.find((each) => each.sequence > sequence)
        if (next === undefined) break
        this.#isInDamage = false
        // What was lost at the end of a chunk is passed with it.
        const nextLsn = this.pastDamage ? Math.max(lsn, next.firstLsn) : lsn
        this.#position = { sequence: next.sequence, offset: CHUNK_HEADER_BYTES, lsn: nextLsn }
        continue
      }
      const found = await this.#frameAt(chunk, offset)
      if (found === undefined) {
        if (this.pastDamage) {
          if (!this.#isInDamage) this.damages++
          this.#isInDamage = true
        } else if (chunk.firstLsn >= log.settledLsn || lsn >= log.settledLsn) {
          throw new ReplayDamage(
            `a frame at ${offset} of chunk ${sequence} cannot be read back, and the origin lacks what it held`,
          )
        }
        this.#position = { sequence, offset: offset + chunk.chunk.device.logicalBlockBytes, lsn }
        continue
      }
      this.#isInDamage = false
      const { frame, at } = found
      const { local, portable } = frame
      const behind = { sequence, offset: offset + local.frameBytes, lsn: portable.lsn + portable.lsnUnits }
      if (portable.kind === FRAME_KIND.writes && behind.lsn > log.settledLsn) {
        if (behind.lsn > stableLsn) break
        if (first !== undefined && !acrossBarriers && local.stableFrame > first) break
        if (first !== undefined && !span.hasRoomFor(portable.checksumCount)) break
        first ??= local.frame
        this.#add(span, frame, at, chunk, offset)
      }
      this.#position = behind
    }
    span.end = this.#position
    const passed = this.pastDamage && this.#position.lsn > begunAt
    return first === undefined && !passed ? undefined : span
  }

  /** Chunks of a log are numbered without gaps. */
  #chunkAt(sequence: number): LogChunk | undefined {
    const { chunks } = this.log
    const oldest = chunks[0]
    const chunk = oldest === undefined ? undefined : chunks[sequence - oldest.sequence]
    return chunk?.sequence === sequence ? chunk : undefined
  }

  #add(span: Span, frame: DecodedFrame, at: number, chunk: LogChunk, offset: number): void {
    const window = this.#window!
    const dataOffset = frameDataOffset(frame.local.headerBytes)
    let dataAt = at + dataOffset
    let unit = (offset + dataOffset) / SECTOR_BYTES
    let index = 0
    for (const { kind, page, count, sectorMap } of frame.extents) {
      if (kind === EXTENT_KIND.zero || kind === EXTENT_KIND.trim) span.addZero(kind, page, count)
      if (kind !== EXTENT_KIND.data) continue
      const sectors = sectorCount(sectorMap)
      const length = sectors * SECTOR_BYTES
      for (let each = page; each < page + count; each++, index++, dataAt += length, unit += sectors) {
        if (checksumOf(window, dataAt, dataAt + length) === frame.pageChecksums[index]) {
          span.addData(each, sectorMap, window, dataAt)
        } else span.addBad(each, sectorMap, chunk, unit)
      }
    }
  }

  /** The frame at an offset of a chunk, and where in the window it is. */
  async #frameAt(chunk: LogChunk, offset: number): Promise<{ frame: DecodedFrame; at: number } | undefined> {
    const end = this.#windowOffset + this.#windowLength
    if (this.#windowChunk === chunk && offset >= this.#windowOffset && offset < end) {
      const at = offset - this.#windowOffset
      const frame = decodeFrame(this.#window!.subarray(0, this.#windowLength), at)
      if (frame !== undefined) return this.#checked(frame, at, chunk)
      if (at === 0) return undefined
    }
    await this.#load(chunk, offset)
    const frame = decodeFrame(this.#window!.subarray(0, this.#windowLength), 0)
    return frame === undefined ? undefined : this.#checked(frame, 0, chunk)
  }

  #checked(frame: DecodedFrame, at: number, chunk: LogChunk): { frame: DecodedFrame; at: number } | undefined {
    const isOurs =
      frame.local.generation === chunk.generation &&
      frame.local.session === chunk.session &&
      frame.portable.logId === this.log.identity.logId
    return isOurs ? { frame, at } : undefined
  }

  async #load(chunk: LogChunk, offset: number): Promise<void> {
    this.#window ??= alignedBuffer(APPEND_BUFFER_BYTES)
    this.#windowChunk = undefined
    const length = Math.min(APPEND_BUFFER_BYTES, chunk.deviceOffset - offset)
    await chunk.chunk.device.read(chunk.chunk.offset + offset, this.#window, 0, length)
    this.#windowChunk = chunk
    this.#windowOffset = offset
    this.#windowLength = length
  }
}
