import { expect, test } from 'vitest'
import { scrubDisks, type MendedSlice, type ScrubTarget } from '../../../../src/engine/scrub/scrub-disks.js'
import { manualClock } from '../../../support/manual-clock.js'

const SLICE: MendedSlice = { next: null, pages: 10, repairedPages: 0, droppedPages: 0, damagedPages: [] }

/** A disk of so many slices, the last of which has the given findings. */
function target(name: string, slices: number, last: Partial<MendedSlice> = {}): ScrubTarget {
  return {
    name,
    pages: slices * 10,
    scrub: async ({ sequence }) =>
      sequence + 1 < slices
        ? { ...SLICE, next: { sequence: sequence + 1, ordinal: 0, lastSequence: slices } }
        : { ...SLICE, ...last },
  }
}

test('one disk after the other, with what was found of each', async () => {
  const clock = manualClock()
  const seen: (readonly [number, number | null])[] = []
  const scrubbing = scrubDisks(
    [target('a', 3, { repairedPages: 2, droppedPages: 1 }), target('b', 2, { damagedPages: [7] })],
    {
      bytesPerSecond: null,
      clock,
      requests: () => 0,
      progress: (done, total) => void seen.push([done, total]),
      signal: new AbortController().signal,
    },
  )
  await clock.advance(1000)
  expect(await scrubbing).toEqual([
    { disk: 'a', pages: 30, repairedPages: 2, droppedPages: 1, damagedPages: [] },
    { disk: 'b', pages: 20, repairedPages: 0, droppedPages: 0, damagedPages: [7] },
  ])
  expect(seen.map(([done]) => done)).toEqual([10, 20, 30, 40, 50])
  expect(new Set(seen.map(([, total]) => total))).toEqual(new Set([50]))
})

test('it gives way to guests', async () => {
  const duration = async (requests: () => number): Promise<number> => {
    const clock = manualClock()
    const options = { bytesPerSecond: null, clock, requests, progress: () => {}, signal: new AbortController().signal }
    let endedAt: number | undefined
    void scrubDisks([target('a', 100)], options).then(() => (endedAt = clock.monotonic()))
    for (let step = 0; step < 10_000 && endedAt === undefined; step++) await clock.advance(1)
    return endedAt!
  }
  let asked = 0
  expect(await duration(() => asked++)).toBeGreaterThan(10 * (await duration(() => 0)))
})

test('it can be cancelled at once, also in a long pause', async () => {
  const clock = manualClock()
  const abort = new AbortController()
  const scrubbing = scrubDisks([target('a', 100)], {
    bytesPerSecond: 1,
    clock,
    requests: () => 0,
    progress: () => {},
    signal: abort.signal,
  })
  const cancelled = expect(scrubbing).rejects.toMatchObject({
    code: 'INTERRUPTED',
    message: 'cancelled: 10 of 1000 pages were read; what was bad is mended',
  })
  await clock.advance(100)
  abort.abort()
  await cancelled
})
