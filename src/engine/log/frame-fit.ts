import {
  EXTENT_BYTES,
  EXTENT_KIND,
  LOCAL_HEADER_BYTES,
  PAGE_CHECKSUM_BYTES,
  PORTABLE_HEADER_BYTES,
  frameDataOffset,
  roundUp,
  sectorCount,
} from '../../format/frame.js'
import { summaryBytes } from '../../format/summary.js'
import { PAGE_BYTES, SECTOR_BYTES } from '../../model/geometry.js'
import { splitExtent, type StagedExtent } from './staged-extent.js'

/** Where a frame is to go. */
export interface FrameRoom {
  /** Bytes that are left for the frame, and for what its entries add to the chunk's summary. */
  readonly bytes: number
  /** Entries that the chunk has, and the most that it may have. */
  readonly entries: number
  readonly maximumEntries: number
  /** Unit of the device: a frame and a summary are whole multiples of it. */
  readonly blockBytes: number
}

/** A frame of the extents that fit. */
export interface FrameFit {
  readonly taken: number
  readonly headerBytes: number
  /** Of data. */
  readonly sectors: number
  readonly checksums: number
}

/** How many of the extents, from `from` on, go into one frame; the last of them is split in place where a part of it fits. */
export function fitFrame(extents: StagedExtent[], from: number, room: FrameRoom): FrameFit {
  const { blockBytes } = room
  const summaryBefore = summaryBytes(room.entries, blockBytes)
  let headerBytes = LOCAL_HEADER_BYTES + PORTABLE_HEADER_BYTES
  let sectors = 0
  let entries = room.entries
  let checksums = 0
  let taken = 0
  const fits = (pages: number, isData: boolean, sectorsPerPage: number): boolean => {
    const header = headerBytes + EXTENT_BYTES + (isData ? pages * PAGE_CHECKSUM_BYTES : 0)
    const frame = roundUp(frameDataOffset(header) + (sectors + sectorsPerPage * pages) * SECTOR_BYTES, blockBytes)
    const after = entries + (isData ? pages : 1)
    return frame + summaryBytes(after, blockBytes) - summaryBefore <= room.bytes && after <= room.maximumEntries
  }
  for (let index = from; index < extents.length; index++) {
    const extent = extents[index]!
    const isData = extent.kind === EXTENT_KIND.data
    const sectorsPerPage = isData ? sectorCount(extent.sectorMap) : 0
    let pages = extent.count
    if (!fits(pages, isData, sectorsPerPage)) {
      if (!isData || pages === 1) break
      pages = Math.min(pages, Math.floor(room.bytes / PAGE_BYTES))
      while (pages > 0 && !fits(pages, isData, sectorsPerPage)) pages--
      if (pages === 0) break
      extents.splice(index, 1, ...splitExtent(extent, pages))
    }
    headerBytes += EXTENT_BYTES + (isData ? pages * PAGE_CHECKSUM_BYTES : 0)
    sectors += sectorsPerPage * pages
    entries += isData ? pages : 1
    checksums += isData ? pages : 0
    taken++
  }
  return { taken, headerBytes, sectors, checksums }
}
