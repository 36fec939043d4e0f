/** What the index takes for each cached page, measured: the bytes of the typed arrays, which is all that it keeps. */
import { expect, test } from 'vitest'
import { ChunkColumns } from '../../../../src/engine/index/chunk-columns.js'
import { PageTable } from '../../../../src/engine/index/page-table.js'
import { loadTrace, referenceCells, tracesMissing } from '../../../support/traces.js'

/** Promised for each cached page, everything included. */
const MOST_BYTES = 20
const ENTRIES_PER_CHUNK = 32_768
const PAGES_PER_CHUNK = 4096

/** Table and columns of a log, filled as the log fills them: a chunk is trimmed when it is full. */
class Index {
  readonly chunks: ChunkColumns[] = []
  readonly table = new PageTable(
    (location) => this.chunks[(location / ENTRIES_PER_CHUNK) | 0]!.page[location % ENTRIES_PER_CHUNK]!,
  )

  add(page: number): void {
    let open = this.chunks.at(-1)
    if (open === undefined || open.count === PAGES_PER_CHUNK) {
      open?.trim()
      this.chunks.push((open = new ChunkColumns()))
    }
    this.table.set(page, (this.chunks.length - 1) * ENTRIES_PER_CHUNK + open.add(page, 0, 0, 0xff, 0, false))
  }

  get bytesPerPage(): number {
    return this.chunks.reduce((sum, { bytes }) => sum + bytes, this.table.bytes) / this.table.size
  }
}

/** The most that a page took, at any size from a few chunks on. */
function mostBytesPerPage(pages: Iterable<number>): { most: number; index: Index } {
  const index = new Index()
  let most = 0
  for (const page of pages) {
    index.add(page)
    if (index.table.size >= 8 * PAGES_PER_CHUNK && index.table.size % 1024 === 0)
      most = Math.max(most, index.bytesPerPage)
  }
  return { most, index }
}

function* range(count: number, step: number): Generator<number> {
  for (let page = 0; page < count; page++) yield (page * step) % 0xffff_ffff
}

test.each([
  ['a sequential disk', 1],
  ['one page in 16', 16],
  ['one page in 4097', 4097],
])(`at most ${MOST_BYTES} bytes a page: %s, from 128 MB to 4 GB`, (_name, step) => {
  expect(mostBytesPerPage(range(1_000_000, step)).most).toBeLessThanOrEqual(MOST_BYTES)
})

const traces = [...new Set(referenceCells().map(({ trace }) => trace))]

test.skipIf(tracesMissing !== undefined)(
  `at most ${MOST_BYTES} bytes a page at the density of real traces${tracesMissing === undefined ? '' : ` (${tracesMissing})`}`,
  async () => {
    for (const trace of traces) {
      const pages = new Set((await loadTrace(trace)).pages)
      const { most, index } = mostBytesPerPage(pages)
      if (index.table.size < 8 * PAGES_PER_CHUNK) continue
      expect(most, trace).toBeLessThanOrEqual(MOST_BYTES)
      console.log(
        `index: ${trace}: ${index.table.size} pages, ${index.bytesPerPage.toFixed(1)} bytes a page, at most ${most.toFixed(1)}`,
      )
    }
  },
  120_000,
)
