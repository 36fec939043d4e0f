/**
 * model/: readonly types and pure rules of the domain: names, limits, modes, transitions. No I/O, no state.
 *
 * The nouns: a *page* (4 KiB, fixed) is the unit of location, checksum and sector map; a *sector* (512 bytes) is the
 * unit of validity; a *block* (1 to 16 pages) is the unit of fill; a *chunk* is the unit of allocation and reclaim.
 */

export const SECTOR_BYTES = 512
export const PAGE_BYTES = 4096
export const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES
/** Sector map of a page of which every sector is valid. */
export const FULL_SECTOR_MAP = 0xff

/** Largest disk: page numbers are unsigned 32-bit, and its phase may add a page. */
export const MAXIMUM_DISK_BYTES = (2 ** 32 - 2) * PAGE_BYTES
export const DEFAULT_CHUNK_BYTES = 16 * 1024 * 1024
/** Bounds of a cache's chunk size; a power of two. */
export const MINIMUM_CHUNK_BYTES = 128 * 1024
export const MAXIMUM_CHUNK_BYTES = 32 * 1024 * 1024
/** A disk's share of its cache is never less. */
export const MINIMUM_SHARE_CHUNKS = 8
export const MAXIMUM_BLOCK_PAGES = 16
/** Unit in which write-through marks what a power cut may leave stale. */
export const REGION_BYTES = 16 * 1024 * 1024
