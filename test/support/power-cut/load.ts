import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../../src/base/random.js'
import { REGION_BYTES, SECTOR_BYTES } from '../../../src/model/geometry.js'
import { NbdReplyError, type SimpleNbdClient } from '../simple-nbd-client.js'
import type { DiskHistory } from './disk-history.js'
import { stampedSectors } from './stamps.js'

const IN_FLIGHT = 8
const SECTORS_PER_REGION = REGION_BYTES / SECTOR_BYTES
/** The load stays in the first part of each region, so that a small cache has to reclaim, and pages are written again. */
const USED_SECTORS_PER_REGION = 2048
const HOT_PLACES = 24
const REQUESTS_OF_A_TURN = 40
const MOST_PAUSE_MILLISECONDS = 150
const COUNTS = [1, 3, 8, 8, 8, 16, 24, 64, 128]

/** Sectors of a disk that the load uses, in runs. */
export function usedRuns(sectors: number): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = []
  for (let first = 0; first < sectors; first += SECTORS_PER_REGION) {
    runs.push({ first, count: Math.min(USED_SECTORS_PER_REGION, sectors - first) })
  }
  return runs
}

/**
 * Sends `requests` requests to a disk, some at a time: writes of whole and partial pages, some with FUA, zeroes, trims, reads and flushes, often to the
 * same places; no two changes of a sector together. One region at a time is written, for a turn; all are read. Between turns there is a pause, so that
 * regions become quiet and are written for the first time again and again. Ends early, without an error, when the connection ends.
 */
export async function runLoad(
  client: SimpleNbdClient,
  history: DiskHistory,
  random: Random,
  requests: number,
): Promise<void> {
  const runs = usedRuns(client.sizeBytes / SECTOR_BYTES)
  const hot = Array.from({ length: HOT_PLACES }, () => random.below(USED_SECTORS_PER_REGION))
  const busy = new Set<number>()
  let left = requests
  let turn = random.below(runs.length)
  let pause = Promise.resolve()

  /** A place that no other request changes, in the region whose turn it is; of a read any. */
  const place = (isRead: boolean): { first: number; count: number } => {
    for (;;) {
      const run = runs[isRead ? random.below(runs.length) : turn]!
      const at = random.below(3) > 0 ? hot[random.below(hot.length)]! : random.below(run.count)
      let first = run.first + at
      if (random.below(2) === 0) first -= first % 8
      const count = Math.min(COUNTS[random.below(COUNTS.length)]!, run.first + run.count - first)
      if (isRead) return { first, count }
      let isFree = true
      for (let sector = first; sector < first + count; sector++) isFree &&= !busy.has(sector)
      if (isFree) return { first, count }
    }
  }

  const change = async (kind: 'write' | 'trim' | 'zeroes'): Promise<void> => {
    const { first, count } = place(false)
    for (let sector = first; sector < first + count; sector++) busy.add(sector)
    const fua = kind === 'write' && random.below(16) === 0
    const begun = history.begin(first, count, { zeroes: kind !== 'write', fua })
    const [offset, length] = [first * SECTOR_BYTES, count * SECTOR_BYTES]
    if (kind === 'write') await client.write(offset, stampedSectors(first, count, begun.stamp), { fua })
    else await (kind === 'trim' ? client.trim(offset, length) : client.writeZeroes(offset, length))
    history.end(begun)
    for (let sector = first; sector < first + count; sector++) busy.delete(sector)
  }

  const request = async (): Promise<void> => {
    const kind = random.below(100)
    if (kind < 70) return change('write')
    if (kind < 74) return change('zeroes')
    if (kind < 77) return change('trim')
    if (kind < 84) {
      const flush = history.beginFlush()
      await client.flush()
      return history.end(flush)
    }
    const { first, count } = place(true)
    await client.read(first * SECTOR_BYTES, count * SECTOR_BYTES)
  }

  const work = async (): Promise<void> => {
    while (left-- > 0) {
      await request()
      if (left % REQUESTS_OF_A_TURN === 0) {
        turn = random.below(runs.length)
        pause = sleep(random.below(MOST_PAUSE_MILLISECONDS))
      }
      await pause
    }
  }
  const outcomes = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, work))
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected' && outcome.reason instanceof NbdReplyError) throw outcome.reason
  }
}
