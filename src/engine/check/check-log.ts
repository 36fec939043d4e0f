import type { Clock } from '../../base/clock.js'
import { bootId } from '../../base/system-calls.js'
import type { CheckedLog } from '../../protocol/control/cache-check.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import { LogChunk } from '../log/log-chunk.js'
import { writeFreeHeader } from '../log/free-header.js'
import { planRecovery, type FoundChunk, type RecoveredChunk, type RecoveryPlan } from '../log/recovery.js'
import { sealRecovered } from '../log/seal-recovered.js'
import { checkChunk, type ChunkReport } from './check-chunk.js'
import type { Findings } from './findings.js'

/** A log is left with as many chunks without summary when its engine is killed. */
const UNSEALED_CHUNKS = 4
/** Pages of a chunk that a finding names. */
const NAMED_PAGES = 5

export interface LogContext {
  readonly cacheId: string
  readonly chunkBytes: number
  readonly clock: Clock
  readonly findings: Findings
  /** Called for each chunk that was looked at. */
  readonly checked: () => void
}

/** Reads all of one log, as its recovery would and then every page of it. */
export async function checkLog(
  logId: string,
  found: readonly FoundChunk[],
  context: LogContext,
): Promise<{ log: CheckedLog; leftChunks: number }> {
  const plan = await planRecovery(found, { chunkBytes: context.chunkBytes, bootId: bootId() })
  const { findings } = context
  if (plan.damages > 0) {
    const { found: oldest } = plan.chunks[0] ?? { found: found[0]! }
    await findings.add({
      ...placeOf(oldest),
      kind: 'log',
      seen: `frames of log ${logId} that were on stable storage are gone`,
      expected: 'a log without gaps',
      effect: 'loses clean pages',
    })
  }
  let entries = 0
  const chunks = [...plan.chunks, ...plan.superseded]
  for (const [index, chunk] of chunks.entries()) {
    findings.throwIfCancelled()
    const report = await readChunk(chunk, context.chunkBytes)
    entries += report.entries.count
    await reportChunk(chunk, report, mayBeUnsealed(plan, chunks.length - index), plan, context)
    context.checked()
  }
  for (const dropped of plan.dropped) await reportLeft(dropped, plan, context)
  const newest = chunks.at(-1)?.found.header ?? found[0]!.header
  return {
    log: {
      logId,
      disk: newest.diskName,
      origin: newest.origin,
      end: plan.end,
      chunks: chunks.length,
      entries,
      lastWrittenAt: plan.lastWrittenAt === 0 ? null : new Date(plan.lastWrittenAt).toISOString(),
    },
    leftChunks: plan.dropped.length,
  }
}

/** @param fromEnd 1 for the newest chunk */
function mayBeUnsealed({ end }: RecoveryPlan, fromEnd: number): boolean {
  return fromEnd <= (end === 'closed' ? 1 : UNSEALED_CHUNKS)
}

async function readChunk(chunk: RecoveredChunk, chunkBytes: number): Promise<ChunkReport> {
  const bytes = alignedBuffer(chunkBytes)
  try {
    const { device, offset } = chunk.found.chunk
    await device.read(offset, bytes, 0, chunkBytes)
    return checkChunk(bytes, chunk)
  } finally {
    releaseAligned(bytes)
  }
}

async function reportChunk(
  chunk: RecoveredChunk,
  { entries, badFrames, badPages, summary }: ChunkReport,
  mayBeUnsealed: boolean,
  plan: RecoveryPlan,
  { chunkBytes, clock, findings }: LogContext,
): Promise<void> {
  const place = placeOf(chunk.found)
  if (badFrames.length > 0) {
    await findings.add({
      ...place,
      kind: 'frame',
      seen: badFrames[0]! + (badFrames.length > 1 ? `, and ${badFrames.length - 1} more such places` : ''),
      expected: 'frames back to back, each following the one before',
      // The summary says what was in it.
      effect: chunk.sealed && summary !== 'bad entries' ? 'harmless' : 'loses clean pages',
    })
  }
  if (badPages.length > 0) {
    const more = badPages.length > NAMED_PAGES ? ` and ${badPages.length - NAMED_PAGES} more` : ''
    await findings.add({
      ...place,
      kind: 'page',
      seen: `bytes of page ${badPages.slice(0, NAMED_PAGES).join(', ')}${more} have another checksum`,
      expected: 'the bytes that were written',
      effect: 'loses clean pages',
    })
  }
  if (summary === 'good' || (summary === 'none' && mayBeUnsealed)) return
  const isProven = badFrames.length === 0 && badPages.length === 0
  await findings.add(
    {
      ...place,
      kind: 'summary',
      seen: summary === 'none' ? 'no summary' : `a summary with ${summary}`,
      expected: `a summary of the ${entries.count} entries in its frames`,
      effect: 'harmless',
    },
    isProven
      ? () =>
          sealRecovered(
            logChunkOf({ ...chunk, columns: entries }),
            chunk.found.header.logId,
            chunkBytes,
            plan.settledLsn,
            clock,
          )
      : undefined,
  )
}

/** A chunk that carries the log's id and is no part of it. */
async function reportLeft(
  left: FoundChunk,
  plan: RecoveryPlan,
  { cacheId, clock, findings }: LogContext,
): Promise<void> {
  const { header } = left
  const isReplaced = plan.chunks.some(
    ({ found: { header: kept } }) => kept.session > header.session && kept.sessionStart <= header.sequence,
  )
  if (!isReplaced) return
  await findings.add(
    {
      ...placeOf(left),
      kind: 'left-chunk',
      seen: `chunk ${header.sequence} of session ${header.session}, which a later session replaced`,
      expected: 'a free chunk',
      effect: 'harmless',
    },
    () => writeFreeHeader(left.chunk, cacheId, clock.now()),
  )
}

function placeOf({ chunk }: FoundChunk): { device: string; chunk: number } {
  return { device: chunk.device.path, chunk: chunk.index }
}

/** The chunk as the log itself has it in memory. */
function logChunkOf({ found, columns, endOffset, ...end }: RecoveredChunk): LogChunk {
  const { chunk, header } = found
  const { generation, sequence, session, firstFrame, firstLsn } = header
  const result = new LogChunk(chunk, generation, 0, sequence, session, firstFrame, firstLsn, 'sealed')
  result.columns = columns
  result.writtenOffset = endOffset
  result.nextFrame = end.nextFrame
  result.nextLsn = end.nextLsn
  result.lastFrameChecksum = end.lastFrameChecksum
  result.lastWriteChecksum = end.lastWriteChecksum
  return result
}
