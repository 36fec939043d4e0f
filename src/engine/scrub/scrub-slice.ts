/**
 * engine/scrub/: reading back every stored page of a cache, so that damage is found while the origin still has what was damaged.
 *
 * A *slice* is what is read at once. The I/O thread of a disk reads slices of its log and mends what it finds; the main thread goes from slice
 * to slice and disk to disk, at a pace that leaves the devices to the guests.
 */
import { checksumOf } from '../../base/checksum.js'
import { sectorCount } from '../../format/frame.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import type { LogChunk } from '../log/log-chunk.js'
import type { Log, LogCounters } from '../log/log.js'

/** Bytes of a chunk that a slice reads at most. */
const SLICE_BYTES = 256 * 1024

/** A place in a log: entry `ordinal` of the chunk with that number, or of the next one that is there. */
export interface ScrubPosition {
  readonly sequence: number
  readonly ordinal: number
  /** Number of the newest chunk when the scrub began: what came later was written a moment ago. Null before the first slice. */
  readonly lastSequence: number | null
}

export const SCRUB_START: ScrubPosition = { sequence: 0, ordinal: 0, lastSequence: null }

export interface ScrubSlice {
  /** Where the next slice begins; null where there is none. */
  readonly next: ScrubPosition | null
  /** Pages that were read. */
  readonly pages: number
  /** Clean pages that did not have their checksum: the log has forgotten them. */
  readonly bad: readonly number[]
  /** Pages that did not, and of which the origin may lack the newest version. They stay what they are. */
  readonly damaged: readonly number[]
}

/** The log is gone, or all of it was read. */
export const SCRUB_END: ScrubSlice = { next: null, pages: 0, bad: [], damaged: [] }

/**
 * Reads the pages of a log that a read would find, from `position` on, from the devices that `medium` gives for those of its chunks (past
 * every cache in memory). What is not on stable storage yet is left out: to read it from there, all who write the file of a device would wait
 * until it is. An error of a device is passed on.
 */
export async function scrubSlice(
  log: Log,
  position: ScrubPosition,
  medium: (deviceIndex: number) => Promise<Device>,
  counters: LogCounters,
): Promise<ScrubSlice> {
  if (position.lastSequence === null) await log.commit()
  const lastSequence = position.lastSequence ?? log.chunks.at(-1)?.sequence ?? 0
  const chunk = log.chunks.find(({ sequence }) => sequence >= position.sequence)
  if (chunk === undefined || chunk.sequence > lastSequence) return SCRUB_END
  const first = chunk.sequence === position.sequence ? position.ordinal : 0
  const { ordinals, next } = chosen(log, chunk, first)
  const behind =
    next !== undefined
      ? { sequence: chunk.sequence, ordinal: next, lastSequence }
      : { sequence: chunk.sequence + 1, ordinal: 0, lastSequence }
  const bad: number[] = []
  const damaged: number[] = []
  for (const ordinal of await readOrdinals(chunk, ordinals, medium)) {
    const page = chunk.columns.page[ordinal]!
    // Something newer may have taken its place meanwhile.
    if (!isFound(log, chunk, ordinal)) continue
    counters.badPages++
    if (log.isDirty(locationOf(log, chunk, ordinal))) damaged.push(page)
    else {
      log.forgetBad(page)
      bad.push(page)
    }
  }
  return { next: behind, pages: ordinals.length, bad, damaged }
}

function locationOf(log: Log, { slot }: LogChunk, ordinal: number): number {
  return slot * log.entriesPerChunk + ordinal
}

function isFound(log: Log, chunk: LogChunk, ordinal: number): boolean {
  const { page, sectorMap } = chunk.columns
  return sectorMap[ordinal] !== 0 && log.table.find(page[ordinal]!) === locationOf(log, chunk, ordinal)
}

/** The entries from `first` on that one read covers, and the first that it does not; undefined where that was the last one. */
function chosen(log: Log, chunk: LogChunk, first: number): { ordinals: number[]; next: number | undefined } {
  const ordinals: number[] = []
  const stableEnd = chunk.state === 'sealed' ? Infinity : chunk.stableOffset
  for (let next = first; next < chunk.published; next++) {
    if (!isFound(log, chunk, next)) continue
    if (endOf(chunk, next) > stableEnd) break
    if (ordinals.length > 0 && endOf(chunk, next) - startOf(chunk, ordinals[0]!) > SLICE_BYTES)
      return { ordinals, next }
    ordinals.push(next)
  }
  return { ordinals, next: undefined }
}

function startOf({ columns }: LogChunk, ordinal: number): number {
  return columns.unit[ordinal]! * SECTOR_BYTES
}

function endOf(chunk: LogChunk, ordinal: number): number {
  return startOf(chunk, ordinal) + sectorCount(chunk.columns.sectorMap[ordinal]!) * SECTOR_BYTES
}

/** Reads entries of a chunk, which lie in this order; returns those that do not have their checksum. */
async function readOrdinals(
  chunk: LogChunk,
  ordinals: readonly number[],
  medium: (deviceIndex: number) => Promise<Device>,
): Promise<number[]> {
  if (ordinals.length === 0) return []
  const start = startOf(chunk, ordinals[0]!)
  const length = endOf(chunk, ordinals.at(-1)!) - start
  const buffer = alignedBuffer(SLICE_BYTES)
  // It is not given back while it is read.
  chunk.readers++
  try {
    const device = await medium(chunk.chunk.deviceIndex)
    await device.read(chunk.chunk.offset + start, buffer, 0, length)
    return ordinals.filter((ordinal) => {
      const from = startOf(chunk, ordinal) - start
      return checksumOf(buffer, from, endOf(chunk, ordinal) - start) !== chunk.columns.checksum[ordinal]
    })
  } finally {
    chunk.release()
    releaseAligned(buffer)
  }
}
