import type { Random } from '../../../src/base/random.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../../src/model/geometry.js'
import type { SimpleNbdClient } from '../simple-nbd-client.js'
import { usedRuns } from './load.js'

const LARGE_READ_BYTES = 1024 * 1024
const IN_FLIGHT = 16

interface Range {
  readonly at: number
  readonly length: number
}

/** What a load uses, page by page, and what lies between. */
function rangesOf(sizeBytes: number): { pages: Range[]; rest: Range[] } {
  const pages: Range[] = []
  const rest: Range[] = []
  let end = 0
  const leaveOut = (until: number): void => {
    for (; end < until; end += LARGE_READ_BYTES) rest.push({ at: end, length: Math.min(LARGE_READ_BYTES, until - end) })
  }
  for (const { first, count } of usedRuns(sizeBytes / SECTOR_BYTES)) {
    leaveOut(first * SECTOR_BYTES)
    end = (first + count) * SECTOR_BYTES
    for (let at = first * SECTOR_BYTES; at < end; at += PAGE_BYTES) pages.push({ at, length: PAGE_BYTES })
  }
  leaveOut(sizeBytes)
  return { pages, rest }
}

/**
 * Reads all of a disk: first what a load uses, in a random order that no read-ahead follows, so that what is cached is answered by the cache; then the
 * rest in one stream, most of which goes past the cache.
 */
export async function readDisk(client: SimpleNbdClient, random: Random): Promise<Buffer> {
  const content = Buffer.alloc(client.sizeBytes)
  const { pages, rest } = rangesOf(client.sizeBytes)
  await readAll(client, shuffled(pages, random), ({ at }, bytes) => content.set(bytes, at))
  for (const { at, length } of rest) content.set(await client.read(at, length), at)
  return content
}

/** Reads once more what a load uses, which leaves it cached; throws where it has changed. */
export async function readAgain(client: SimpleNbdClient, content: Buffer, random: Random): Promise<void> {
  await readAll(client, shuffled(rangesOf(client.sizeBytes).pages, random), ({ at, length }, bytes) => {
    if (!bytes.equals(content.subarray(at, at + length)))
      throw new Error(`the page at ${at} changes while nobody writes`)
  })
}

async function readAll(
  client: SimpleNbdClient,
  ranges: readonly Range[],
  use: (range: Range, bytes: Buffer) => void,
): Promise<void> {
  let next = 0
  const read = async (): Promise<void> => {
    while (next < ranges.length) {
      const range = ranges[next++]!
      use(range, await client.read(range.at, range.length))
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, read))
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, order: random.below(2 ** 30) }))
    .sort((left, right) => left.order - right.order)
    .map(({ item }) => item)
}
