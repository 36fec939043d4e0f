import type { ModePath } from './mode-path.js'

/** A write goes to the origin alone; the log says that what it has of these pages is invalid. Only reads fill the cache. */
export const writeAround: ModePath = {
  mode: 'write-around',
  logs: true,
  record: (disk, offset, data) => Promise.resolve(disk.stage([disk.invalidExtent(offset, data.length)])),
}
