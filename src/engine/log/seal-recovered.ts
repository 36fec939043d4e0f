import type { Clock } from '../../base/clock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import { encodeSummary, type LogChunk } from './log-chunk.js'
import { APPEND_BUFFER_BYTES } from './log.js'

/** Syncs a chunk that was cut or never sealed, then proves it by a summary of what was found in it, which is synced as well. */
export async function sealRecovered(
  chunk: LogChunk,
  logId: string,
  chunkBytes: number,
  settledLsn: number,
  clock: Clock,
): Promise<void> {
  const { device, offset } = chunk.chunk
  await device.commit([{ offset, length: chunk.writtenOffset }])
  const buffer = alignedBuffer(APPEND_BUFFER_BYTES)
  try {
    const summary = encodeSummary(chunk, logId, chunkBytes, settledLsn, clock.now(), buffer)
    await device.write(offset + summary.offset, summary.bytes)
    await device.commit([{ offset: offset + summary.offset, length: summary.bytes.length }])
  } finally {
    releaseAligned(buffer)
  }
}
