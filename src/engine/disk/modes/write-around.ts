import type { ModePath } from './mode-path.js'

/** A write goes to the origin alone; the log says that what it has of these pages is invalid. Only reads fill the cache. */
export const writeAround: ModePath = {
  mode: 'write-around',
  logs: true,
  writesBack: false,
  recordsData: () => false,
  record: (extents, offset, data) => [extents.invalid(offset, data.length)],
}
