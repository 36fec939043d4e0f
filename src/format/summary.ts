import { Structure, type Values } from './structure.js'
import { FORMAT_VERSION } from './superblock.js'
import { roundUp } from './frame.js'

/**
 * A sealed chunk ends with a summary: one entry for each page of data and each other extent of its frames, in log order, then
 * a trailer in the last bytes of the chunk. It is written only after all that it speaks of is on stable storage, so it proves its chunk.
 */
export const TRAILER_BYTES = 128
export const SUMMARY_ENTRY_BYTES = 12

/** The log was in write-back when the chunk was full. */
export const SUMMARY_FLAG = { writeBack: 1 } as const

const structure = new Structure('summary trailer', 'vmSM', TRAILER_BYTES, {
  version: 'u16',
  flags: 'u16',
  entryCount: 'u32',
  entriesChecksum: 'u32',
  /** Frames fill the chunk up to here; what lies behind was never part of the log. */
  endOffset: 'u32',
  generation: 'u64',
  logId: 'id',
  session: 'u64',
  sequence: 'u64',
  /** The frame and the LSN behind the last ones of the chunk, and what the chains stand at there. */
  nextFrame: 'u64',
  nextLsn: 'u64',
  lastFrameChecksum: 'u32',
  lastWriteChecksum: 'u32',
  settledLsn: 'u64',
  writtenAt: 'u64',
  reserved: 'reserved:24',
})

export type SummaryTrailer = Omit<Values<typeof structure extends Structure<infer F> ? F : never>, 'version'>

export const summaryLayout = structure.layout

/** Bytes that a summary of `entryCount` entries takes at the end of its chunk. */
export function summaryBytes(entryCount: number, logicalBlockBytes: number): number {
  return roundUp(entryCount * SUMMARY_ENTRY_BYTES + TRAILER_BYTES, logicalBlockBytes)
}

export function encodeSummaryTrailer(target: Buffer, at: number, trailer: SummaryTrailer): void {
  structure.encode(target, at, { ...trailer, version: FORMAT_VERSION })
}

export function decodeSummaryTrailer(source: Buffer, at: number): SummaryTrailer | undefined {
  const trailer = structure.read(source, at)
  return trailer === undefined || trailer.version > FORMAT_VERSION ? undefined : trailer
}
