import type { ModePath } from './mode-path.js'

/** A write goes to log and origin; a later read finds it in the cache. */
export const writeThrough: ModePath = {
  mode: 'write-through',
  logs: true,
  writesBack: false,
  recordsData: (isStreamed) => !isStreamed,
  record: (extents, offset, data, isStreamed) =>
    isStreamed ? [extents.invalid(offset, data.length)] : extents.data(offset, data),
}
