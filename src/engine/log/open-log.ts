import { assert } from '../../base/assert.js'
import { EXTENT_KIND } from '../../format/frame.js'
import type { LaidReplacement } from '../replacement/replacement.js'
import { DeadPages } from './dead-pages.js'
import type { LogChunk } from './log-chunk.js'
import { writeFreeHeader } from './free-header.js'
import { Log, NEW_LOG, type LogOptions } from './log.js'
import { mapConcurrently, readEntries, type RecoveredChunk, type RecoveryPlan } from './recovery.js'
import { sealRecovered } from './seal-recovered.js'

export interface OpenedLog {
  readonly log: Log
  /** Nothing of an earlier log was kept. */
  readonly isNew: boolean
  /** Reads the index of what was there before, newest chunk first, beside the traffic; ends when all of it is warm. */
  readonly load: () => Promise<void>
}

/**
 * Carries out a recovery plan, up to its commit point. What `keepPages` is false for is dropped as if the log were new; the caller has made
 * sure that nothing in it is dirty. What is dirty is in the index when this ends. A log with damage where it is dirty is opened only to be
 * destaged `pastDamage` and given back: its chunks stay unsealed, so that an opening after a crash finds the damage again.
 */
export async function openLog(
  plan: RecoveryPlan,
  options: LogOptions,
  settings: {
    readonly replacement: LaidReplacement
    readonly maximumChunks: number
    readonly keepPages: boolean
    readonly pastDamage?: boolean
  },
): Promise<OpenedLog> {
  const { source, clock } = options
  assert(!plan.isDirtyDamaged || settings.pastDamage, 'a log whose dirty part is damaged is not opened')
  assert(settings.keepPages || plan.dirtyBytes === 0, 'a dirty log is not dropped')
  const keep = settings.keepPages ? plan.chunks : []
  const newest = plan.chunks.at(-1)
  const log = new Log(
    options,
    newest === undefined
      ? { ...NEW_LOG, session: plan.newestSession + 1, nextSequence: plan.nextSequence }
      : {
          session: plan.newestSession + 1,
          nextSequence: newest.found.header.sequence + 1,
          nextFrame: newest.nextFrame,
          nextLsn: newest.nextLsn,
          settledLsn: plan.isWriteBack ? plan.settledLsn : newest.nextLsn,
          stableFrame: newest.nextFrame,
          lastFrameChecksum: newest.lastFrameChecksum,
          lastWriteChecksum: newest.lastWriteChecksum,
        },
    settings.replacement,
    settings.maximumChunks,
  )
  log.isWriteBack = plan.isWriteBack && settings.keepPages
  const adopted: AdoptedChunk[] = []
  for (const recovered of keep) {
    const { found } = recovered
    const { header } = found
    const chunk = log.adopt(
      found.chunk,
      header.generation,
      header.sequence,
      header.session,
      header.firstFrame,
      header.firstLsn,
    )
    chunk.nextFrame = recovered.nextFrame
    chunk.nextLsn = recovered.nextLsn
    chunk.writtenOffset = recovered.endOffset
    chunk.deviceOffset = recovered.endOffset
    chunk.stableOffset = recovered.endOffset
    chunk.lastFrameChecksum = recovered.lastFrameChecksum
    chunk.lastWriteChecksum = recovered.lastWriteChecksum
    chunk.isWriteBack = recovered.state.isWriteBack
    adopted.push({ chunk, recovered })
    if (recovered.sealed) continue
    chunk.columns = recovered.columns
    if (plan.isDirtyDamaged) continue
    await sealRecovered(chunk, options.identity.logId, source.chunkBytes, plan.settledLsn, clock)
  }
  const given = settings.keepPages ? [] : [...plan.chunks, ...plan.superseded].map(({ found }) => found)
  for (const { chunk } of [...plan.dropped, ...given]) {
    await writeFreeHeader(chunk, source.cacheId, clock.now())
    source.give(chunk)
  }
  if (settings.keepPages) log.resumeTouched(plan.touched)
  const dead = new DeadPages()
  for (const { page, count } of plan.invalid) dead.add(page, count)
  if (adopted.length > 0) log.onForgotten = (page, count) => dead.add(page, count)
  const bad = settings.keepPages ? plan.bad : []
  for (const page of bad) dead.add(page, 1)
  await log.begin(settings.keepPages ? plan.invalid : [], bad)
  if (settings.keepPages) for (const { found } of plan.superseded) await log.giveBack(found.chunk)
  log.keepReserve()
  const newestFirst = adopted.reverse()
  const isDirty = ({ chunk }: AdoptedChunk): boolean => log.isWriteBack && chunk.nextLsn > plan.settledLsn
  await loadAtOnce(log, newestFirst.filter(isDirty), dead, options)
  return {
    log,
    isNew: adopted.length === 0,
    load: async () => {
      for (const each of newestFirst.filter((each) => !isDirty(each))) {
        if (log.failure !== undefined) break
        await loadChunk(log, each, dead, options)
      }
      log.endLoad()
    },
  }
}

/** A chunk of the log that is opened, and what recovery knows of it. */
interface AdoptedChunk {
  readonly chunk: LogChunk
  readonly recovered: RecoveredChunk
}

/**
 * Loads what must be known before the first answer, newest chunk first: the index of gigabytes in one go. Nothing is in the index yet.
 */
async function loadAtOnce(
  log: Log,
  newestFirst: readonly AdoptedChunk[],
  dead: DeadPages,
  { source }: LogOptions,
): Promise<void> {
  const all = await mapConcurrently(newestFirst, ({ recovered }) => readEntries(recovered, source.chunkBytes))
  const entries = all.reduce((sum, { count }) => sum + count, 0)
  const [pages, locations] = [new Uint32Array(entries), new Uint32Array(entries)]
  let count = 0
  for (const [index, { chunk }] of newestFirst.entries()) {
    const columns = (chunk.columns = all[index]!)
    chunk.published = columns.count
    const first = chunk.slot * log.entriesPerChunk
    const { page, sectorMap } = columns
    for (let ordinal = columns.count - 1; ordinal >= 0; ordinal--) {
      if (sectorMap[ordinal] === 0) noteMark(log, chunk, ordinal, dead)
      else if (dead.isEmpty || !dead.has(page[ordinal]!)) {
        pages[count] = page[ordinal]!
        locations[count++] = first + ordinal
      }
    }
  }
  log.table.fill(pages, locations, count)
  for (const { chunk } of newestFirst) log.adoptPlaced(chunk)
}

async function loadChunk(
  log: Log,
  { chunk, recovered }: AdoptedChunk,
  dead: DeadPages,
  options: LogOptions,
): Promise<void> {
  const columns = await readEntries(recovered, options.source.chunkBytes)
  // Reclaimed before its turn came.
  if (log.slots[chunk.slot] !== chunk) return
  chunk.columns = columns
  chunk.published = columns.count
  for (let ordinal = columns.count - 1; ordinal >= 0; ordinal--) {
    const page = columns.page[ordinal]!
    if (columns.sectorMap[ordinal] !== 0) {
      if (!dead.has(page) && log.placeIfAbsent(page, chunk, ordinal))
        columns.heat[ordinal] = log.replacement.inserted(page)
      continue
    }
    noteMark(log, chunk, ordinal, dead)
  }
  await new Promise<void>((resolve) => options.defer(resolve))
}

/** Notes what an entry that is no data takes away from pages that are older. */
function noteMark(log: Log, chunk: LogChunk, ordinal: number, dead: DeadPages): void {
  const { columns } = chunk
  const [page, count, kind] = [columns.page[ordinal]!, columns.checksum[ordinal]!, columns.heat[ordinal]!]
  const isZero = kind === EXTENT_KIND.zero || kind === EXTENT_KIND.trim
  if (isZero && log.isWriteBack && chunk.nextLsn > log.settledLsn) log.zeroRanges.addOlder(page, count, chunk.nextLsn)
  if (isZero || kind === EXTENT_KIND.invalid || kind === EXTENT_KIND.bad) dead.add(page, count)
}
