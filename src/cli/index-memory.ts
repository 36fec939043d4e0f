import { PAGE_BYTES } from '../model/geometry.js'

/** Memory that the index needs per cached page, everything included. */
const INDEX_BYTES_PER_PAGE = 20

/** Bytes of memory that the index of a full cache of this size needs. */
export function indexBytesFor(cacheBytes: number): number {
  return Math.ceil(cacheBytes / PAGE_BYTES) * INDEX_BYTES_PER_PAGE
}
