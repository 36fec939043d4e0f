/**
 * trace/: recorded block requests, and simulations of replacement policies over them.
 *
 * A *trace* is a gzip-compressed CSV file: the header line of read-trace.ts, then a request a line in the order of arrival. `time_us` counts
 * from the first request and is empty where it is not known; `op` is R or W. An *access* is what a request does to one page.
 */
import { VmcacheError } from '../base/errors.js'
import { PAGE_BYTES } from '../model/geometry.js'
import { readTrace } from './read-trace.js'

const PAGES = 2 ** 32

/** What a trace does to pages, in order: 5 bytes an access. */
export interface PageAccesses {
  readonly pages: Uint32Array
  /** 1 where the access is a write. */
  readonly writes: Uint8Array
  readonly uniquePages: number
}

/** Reads a whole trace; each request touches its pages in ascending order. Errors as {@link readTrace}. */
export async function loadAccesses(path: string): Promise<PageAccesses> {
  let pages = new Uint32Array(1 << 16)
  let writes = new Uint8Array(pages.length)
  let count = 0
  const unique = new Set<number>()
  for await (const requests of readTrace(path)) {
    for (const { offset, length, write } of requests) {
      const last = Math.floor((offset + length - 1) / PAGE_BYTES)
      if (last >= PAGES)
        throw new VmcacheError('CORRUPT', `trace ${path}: a request at ${offset} lies beyond the largest disk (16 TiB)`)
      for (let page = Math.floor(offset / PAGE_BYTES); page <= last; page++, count++) {
        if (count === pages.length) {
          pages = grown(pages, new Uint32Array(2 * count))
          writes = grown(writes, new Uint8Array(2 * count))
        }
        pages[count] = page
        writes[count] = write ? 1 : 0
        unique.add(page)
      }
    }
  }
  return { pages: pages.subarray(0, count), writes: writes.subarray(0, count), uniquePages: unique.size }
}

function grown<T extends Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from)
  return to
}
