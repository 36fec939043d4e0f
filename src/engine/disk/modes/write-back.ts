import type { ModePath } from './mode-path.js'

/** A write is answered when the log has it, and goes to the origin in its turn. Nothing goes round the log: a long stream neither. */
export const writeBack: ModePath = {
  mode: 'write-back',
  logs: true,
  writesBack: true,
  recordsData: () => true,
  record: (extents, offset, data) => extents.data(offset, data),
}
