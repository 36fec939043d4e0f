import type { ModePath } from './mode-path.js'

/** A write goes to log and origin; a later read finds it in the cache. */
export const writeThrough: ModePath = {
  mode: 'write-through',
  logs: true,
  async record(disk, offset, data, bypass) {
    return disk.stage(bypass ? [disk.invalidExtent(offset, data.length)] : await disk.dataExtents(offset, data))
  },
}
