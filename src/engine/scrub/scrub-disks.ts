import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { PAGE_BYTES } from '../../model/geometry.js'
import type { Progress, ScrubbedDisk } from '../engine.js'
import { pauseAfter } from './scrub-pace.js'
import { SCRUB_START, type ScrubPosition } from './scrub-slice.js'

/** What became of the pages of a slice. */
export interface MendedSlice {
  readonly next: ScrubPosition | null
  readonly pages: number
  /** Bad ones that were read from the origin again. */
  readonly repairedPages: number
  /** Bad ones that are not cached any more. */
  readonly droppedPages: number
  readonly damagedPages: readonly number[]
}

/** A disk that is served, as a scrub needs it. */
export interface ScrubTarget {
  readonly name: string
  /** Pages that are cached. */
  readonly pages: number
  scrub(position: ScrubPosition): Promise<MendedSlice>
}

export interface ScrubOptions {
  readonly bytesPerSecond: number | null
  readonly clock: Clock
  /** Requests of all guests so far. */
  readonly requests: () => number
  readonly progress: Progress
  readonly signal: AbortSignal
}

/** Scrubs disks one after the other. INTERRUPTED where `signal` is raised; what was mended stays so. */
export async function scrubDisks(targets: readonly ScrubTarget[], options: ScrubOptions): Promise<ScrubbedDisk[]> {
  const { bytesPerSecond, clock, requests, progress, signal } = options
  const total = targets.reduce((sum, { pages }) => sum + pages, 0)
  const scrubbed: ScrubbedDisk[] = []
  let done = 0
  let requestsBefore = requests()
  for (const { name, scrub } of targets) {
    let disk: ScrubbedDisk = { disk: name, pages: 0, repairedPages: 0, droppedPages: 0, damagedPages: [] }
    for (let position: ScrubPosition | null = SCRUB_START; position !== null;) {
      if (signal.aborted)
        throw new VmcacheError('INTERRUPTED', `cancelled: ${done} of ${total} pages were read; what was bad is mended`)
      const startedAt = clock.monotonic()
      const slice: MendedSlice = await scrub(position)
      const milliseconds = clock.monotonic() - startedAt
      position = slice.next
      done += slice.pages
      disk = withSlice(disk, slice)
      progress(done, Math.max(done, total), 'pages', name)
      const isBusy = requests() !== requestsBefore
      requestsBefore = requests()
      const bytes = slice.pages * PAGE_BYTES
      await pause(pauseAfter({ milliseconds, bytes, isBusy, bytesPerSecond }), clock, signal)
    }
    scrubbed.push(disk)
  }
  return scrubbed
}

function withSlice(disk: ScrubbedDisk, slice: MendedSlice): ScrubbedDisk {
  return {
    disk: disk.disk,
    pages: disk.pages + slice.pages,
    repairedPages: disk.repairedPages + slice.repairedPages,
    droppedPages: disk.droppedPages + slice.droppedPages,
    damagedPages: [...disk.damagedPages, ...slice.damagedPages],
  }
}

/** Ends after the time, or when `signal` is raised. */
function pause(milliseconds: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const cancel = clock.after(milliseconds, end)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
  })
}
