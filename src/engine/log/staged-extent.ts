import { EXTENT_KIND } from '../../format/frame.js'
import { PAGE_BYTES } from '../../model/geometry.js'

/** An extent that waits to be appended. */
export interface StagedExtent {
  readonly kind: number
  readonly page: number
  readonly count: number
  /** Of data: the sectors that `data` holds, back to back. More than one page only with all sectors. */
  readonly sectorMap: number
  /** The stored sectors of all pages; empty where the extent is no data. Untouched until the append ended. */
  readonly data: Uint8Array
  /** Of a relocated page: its checksum, carried along, its heat and where it was: it is dropped if the page moved on meanwhile. */
  readonly relocated: { readonly checksum: number; readonly heat: number; readonly location: number } | undefined
}

export const NO_DATA = new Uint8Array(0)

export function dataExtent(page: number, count: number, sectorMap: number, data: Uint8Array): StagedExtent {
  return { kind: EXTENT_KIND.data, page, count, sectorMap, data, relocated: undefined }
}

/** An extent without data: zero, trim, invalid, touched or quiet. */
export function markExtent(kind: number, page: number, count: number): StagedExtent {
  return { kind, page, count, sectorMap: 0xff, data: NO_DATA, relocated: undefined }
}

/** The first `count` pages of an extent of whole pages, and the rest. */
export function splitExtent(extent: StagedExtent, count: number): [StagedExtent, StagedExtent] {
  const bytes = count * PAGE_BYTES
  return [
    { ...extent, count, data: extent.data.subarray(0, bytes) },
    { ...extent, page: extent.page + count, count: extent.count - count, data: extent.data.subarray(bytes) },
  ]
}
