/** What a disk gets where nothing is said. */
export const DEFAULT_REPLACEMENT = 's3-fifo'
export const DEFAULT_SHARES = 100
